// Packs rows of weights from a file's layout (ggml's blocks) into that of matmul_common.cuh.
//
// A thread writes one lane's part of one group. Grid (ceil(groups / 8), tiles); block 256.

#include "matmul_common.cuh"

struct PackArgs {
    const u8* raw;     // [rows] rows of `row_bytes`
    u8* groups_at;     // of the first tile to write
    u8* supers_at;     // alike
    i64 row_bytes;
    int type, rows, columns, groups;
};

DEVICE u32 half_at(const u8* p) { return p[0] | p[1] << 8; }

// The code of column k, before its zero point is taken from it.
DEVICE u32 raw_code(int type, const u8* row, int k) {
    int i = k % 32;
    const u8* b = row;
    switch (type) {
    case W_Q8_0: return row[k / 32 * 34 + 2 + i];
    case W_Q4_0: b += k / 32 * 18 + 2; return b[i % 16] >> (i / 16 * 4) & 15;
    case W_Q4_1: b += k / 32 * 20 + 4; return b[i % 16] >> (i / 16 * 4) & 15;
    case W_Q5_0: b += k / 32 * 22 + 2; return (b[4 + i % 16] >> (i / 16 * 4) & 15) | (b[i / 8] >> i % 8 & 1) << 4;
    case W_Q5_1: b += k / 32 * 24 + 4; return (b[4 + i % 16] >> (i / 16 * 4) & 15) | (b[i / 8] >> i % 8 & 1) << 4;
    case W_Q4_K: b += k / 256 * 144 + 16; return b[k % 256 / 64 * 32 + i] >> (k / 32 % 2 * 4) & 15;
    case W_Q5_K:
        b += k / 256 * 176 + 16;
        return (b[32 + k % 256 / 64 * 32 + i] >> (k / 32 % 2 * 4) & 15) | (b[i] >> (k % 256 / 32) & 1) << 4;
    default: { // Q6_K: halves of 128 columns, quarters of 32
        b += k / 256 * 210;
        int half = k % 256 / 128, quarter = k % 128 / 32;
        return (b[64 * half + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15) | (b[128 + 32 * half + i] >> (2 * quarter) & 3) << 4;
    }
    }
}

// Scale (low byte) and minimum of 32 columns of Q4_K and Q5_K, six bits each in twelve bytes.
DEVICE u32 six_bits(const u8* q, int j) {
    u32 scale = j < 4 ? q[j] & 63 : (q[j + 4] & 15) | (q[j - 4] >> 6) << 4;
    u32 minimum = j < 4 ? q[j + 4] & 63 : q[j + 4] >> 4 | (q[j] >> 6) << 4;
    return scale | minimum << 8;
}

// Two bytes of scales of a block of 32 columns: (scale, minimum) of K-quants, two scales of Q6_K, else an f16, `which`
// telling scale from minimum.
DEVICE u32 raw_scale(int type, const u8* row, int block, int which) {
    switch (type) {
    case W_Q8_0: return half_at(row + block * 34);
    case W_Q4_0: return half_at(row + block * 18);
    case W_Q4_1: return half_at(row + block * 20 + 2 * which);
    case W_Q5_0: return half_at(row + block * 22);
    case W_Q5_1: return half_at(row + block * 24 + 2 * which);
    case W_Q4_K: return six_bits(row + block / 8 * 144 + 4, block % 8);
    case W_Q5_K: return six_bits(row + block / 8 * 176 + 4, block % 8);
    default: return half_at(row + block / 8 * 210 + 192 + block % 8 * 2);
    }
}

// Code words of block `block`: four registers of the two rows.
DEVICE void raw_words(u32 (&a)[4], const PackArgs& p, const u8* (&rows)[2], int block, int t) {
    #pragma unroll
    for (int i = 0; i < 4; ++i) {
        int column = p.type == W_Q6_K ? column_of<W_Q6_K>(i / 2, t) : column_of<W_Q8_0>(i / 2, t);
        a[i] = 0;
        if (rows[i % 2] == nullptr || 32 * block >= p.columns) continue;
        for (int k = 0; k < 4; ++k) a[i] |= raw_code(p.type, rows[i % 2], 32 * block + column + k) << (8 * k);
    }
}

DEVICE void pack_codes(const PackArgs& p, const u8* (&rows)[2], u8* to, int group, int lane) {
    int t = lane % 4, pieces = p.type == W_Q8_0 ? 4 : 2;
    uint4 low[4] = {};
    u32 high[4] = {0, 0, 0, 0}, fifth[2] = {0, 0};
    #pragma unroll
    for (int j = 0; j < 4; ++j) {
        u32 a[4];
        raw_words(a, p, rows, 4 * group + j, t);
        if (p.type == W_Q8_0) {
            low[j] = make_uint4(a[0], a[1], a[2], a[3]);
            continue;
        }
        u32 first = (a[0] & 0x0f0f0f0f) | (a[1] & 0x0f0f0f0f) << 4, second = (a[2] & 0x0f0f0f0f) | (a[3] & 0x0f0f0f0f) << 4;
        if (j % 2) low[j / 2].z = first, low[j / 2].w = second;
        else low[j / 2].x = first, low[j / 2].y = second;
        u32 top = 0;
        #pragma unroll
        for (int i = 0; i < 4; ++i) {
            fifth[j / 2] |= (a[i] >> 4 & 0x01010101) << (4 * (j % 2) + i);
            top |= (a[i] >> 4 & 0x03030303) << (2 * i);
        }
        high[j] = top;
    }
    #pragma unroll
    for (int i = 0; i < 4; ++i)
        if (i < pieces) reinterpret_cast<uint4*>(to + 512 * i)[lane] = low[i];
    if (p.type == W_Q6_K) reinterpret_cast<uint4*>(to + 1024)[lane] = make_uint4(high[0], high[1], high[2], high[3]);
    if (has_fifth_bits(p.type)) reinterpret_cast<uint2*>(to + 1024)[lane] = make_uint2(fifth[0], fifth[1]);
}

DEVICE void pack_scales(const PackArgs& p, const u8* (&rows)[2], u8* to, int group, int lane) {
    int block = 4 * group + lane % 4;
    bool there = 32 * block < p.columns;
    u32 x[2] = {0, 0};
    #pragma unroll
    for (int which = 0; which < 2; ++which)
        #pragma unroll
        for (int r = 0; r < 2; ++r)
            if (there && rows[r] != nullptr) x[which] |= raw_scale(p.type, rows[r], block, which) << (16 * r);
    if (scale_bytes(p.type) == 8) reinterpret_cast<uint2*>(to)[lane] = make_uint2(x[0], x[1]);
    else reinterpret_cast<u32*>(to)[lane] = x[0];
}

// f16 scales of 256 columns: {d, dmin} of each row, or d alone for Q6_K.
DEVICE void pack_super(const PackArgs& p, const u8* (&rows)[2], int tile, int super, int g) {
    i64 at = ((i64)tile * ((p.groups + 1) / 2) + super) * 8 + g;
    u32 x[2] = {0, 0};
    #pragma unroll
    for (int r = 0; r < 2; ++r) {
        if (rows[r] == nullptr || 256 * super >= p.columns) continue;
        if (p.type == W_Q6_K) {
            x[0] |= half_at(rows[r] + super * 210 + 208) << (16 * r);
        } else {
            const u8* b = rows[r] + super * (p.type == W_Q4_K ? 144 : 176);
            x[r] = half_at(b) | half_at(b + 2) << 16;
        }
    }
    if (p.type == W_Q6_K) reinterpret_cast<u32*>(p.supers_at)[at] = x[0];
    else reinterpret_cast<uint2*>(p.supers_at)[at] = make_uint2(x[0], x[1]);
}

DEVICE u32 raw_float(const PackArgs& p, const u8* row, int k) {
    if (row == nullptr || k >= p.columns) return 0;
    if (p.type == W_F32) return half_at(row + 4 * k) | half_at(row + 4 * k + 2) << 16;
    return half_at(row + 2 * k);
}

DEVICE void pack_floats(const PackArgs& p, const u8* (&rows)[2], u8* to, int group, int lane) {
    int t = lane % 4, columns = group_columns(p.type);
    #pragma unroll
    for (int i = 0; i < 4; ++i) {
        u32 w[4];
        #pragma unroll
        for (int j = 0; j < 4; ++j) {
            if (p.type == W_F32) { // word j of half step i: {g, g + 8} of a column, then of the next
                int k = group * columns + 16 * (i / 2) + 4 * t + 2 * (i % 2) + j / 2;
                w[j] = raw_float(p, rows[j % 2], k);
            } else { // row g's four columns, then row g + 8's
                int k = group * columns + 16 * i + 4 * t + 2 * (j % 2);
                w[j] = raw_float(p, rows[j / 2], k) | raw_float(p, rows[j / 2], k + 1) << 16;
            }
        }
        reinterpret_cast<uint4*>(to + 512 * i)[lane] = make_uint4(w[0], w[1], w[2], w[3]);
    }
}

extern "C" __global__ void __launch_bounds__(256, 2) matmul_pack(const __grid_constant__ PackArgs p) {
    int group = blockIdx.x * 8 + (threadIdx.x >> 5), tile = blockIdx.y;
    if (group >= p.groups) return;
    int lane = threadIdx.x & 31, first = 16 * tile + lane / 4;
    const u8* rows[2];
    #pragma unroll
    for (int r = 0; r < 2; ++r) rows[r] = first + 8 * r < p.rows ? p.raw + (first + 8 * r) * p.row_bytes : nullptr;
    u8* to = p.groups_at + ((i64)tile * p.groups + group) * group_bytes(p.type);
    if (is_float(p.type)) {
        pack_floats(p, rows, to, group, lane);
        return;
    }
    pack_codes(p, rows, to, group, lane);
    pack_scales(p, rows, to + group_bytes(p.type) - 32 * scale_bytes(p.type), group, lane);
    if (is_super(p.type) && group % 2 == 0 && lane % 4 == 0) pack_super(p, rows, tile, group / 2, lane / 4);
}
