// What every kernel of matrix products shares: the packed layout of weights and how a warp reads it.
//
// A matrix is packed when it is uploaded. 16 rows make a tile; a tile's columns make groups of `GROUP` (128 for block
// formats, 64 for 16-bit, 32 for 32-bit floats), and a group is stored so that each lane of a warp reads its own bytes,
// 16 at a time, in the order in which mma.m16n8 takes its first operand. With g = lane / 4 and t = lane % 4, a lane
// holds rows g and g + 8. In block j of 32 columns, register i of its four holds row g + 8 (i % 2), and columns
// 8 t + 4 (i / 2) and three on; 16 (i / 2) + 4 t and three on for Q6_K, whose scales are of 16 columns.
// A group: `VECTORS` 16-byte words a lane, then 8 bytes of fifth bits a lane (Q5), then 4 or 8 bytes of scales a lane:
// those of block t for rows g and g + 8. Scales of 256 columns (K-quants) lie apart, [tile][super block][g].
// Rows and columns that do not exist are zero codes with zero scales. `matmul_pack.cu` writes this, `PackedLayout` in
// Rust knows its sizes.

#include "attention_common.cuh"

// ggml's numbers.
enum Weights {
    W_F32 = 0, W_F16 = 1, W_Q4_0 = 2, W_Q4_1 = 3, W_Q5_0 = 6, W_Q5_1 = 7, W_Q8_0 = 8,
    W_Q4_K = 12, W_Q5_K = 13, W_Q6_K = 14, W_BF16 = 30
};

constexpr __host__ __device__ bool is_float(int w) { return w == W_F32 || w == W_F16 || w == W_BF16; }
constexpr __host__ __device__ bool is_super(int w) { return w == W_Q4_K || w == W_Q5_K || w == W_Q6_K; }
// Formats of value = scale * code + offset with an offset of its own, not a constant.
constexpr __host__ __device__ bool has_minimum(int w) { return w == W_Q4_1 || w == W_Q5_1 || w == W_Q4_K || w == W_Q5_K; }
constexpr __host__ __device__ bool has_fifth_bits(int w) { return w == W_Q5_0 || w == W_Q5_1 || w == W_Q5_K; }
constexpr __host__ __device__ int group_columns(int w) { return w == W_F32 ? 32 : is_float(w) ? 64 : 128; }
constexpr __host__ __device__ int vectors(int w) { return is_float(w) || w == W_Q8_0 ? 4 : w == W_Q6_K ? 3 : 2; }
constexpr __host__ __device__ int scale_bytes(int w) { return is_float(w) ? 0 : w == W_Q4_1 || w == W_Q5_1 ? 8 : 4; }
constexpr __host__ __device__ int super_bytes(int w) { return w == W_Q4_K || w == W_Q5_K ? 8 : w == W_Q6_K ? 4 : 0; }
constexpr __host__ __device__ int group_bytes(int w) {
    return 512 * vectors(w) + (has_fifth_bits(w) ? 256 : 0) + 32 * scale_bytes(w);
}
// What is taken from every code, in each byte of a word.
constexpr __host__ __device__ u32 zero_point(int w) {
    return w == W_Q4_0 ? 0xf8f8f8f8u : w == W_Q5_0 ? 0xf0f0f0f0u : w == W_Q6_K ? 0xe0e0e0e0u : 0;
}

struct ProductArgs {
    const u8* groups_at;  // [tiles][groups] groups
    const u8* supers_at;  // [tiles][super blocks][8] scales of super blocks
    const float* values;  // [m][stride]
    const signed char* codes; // [m][stride]
    const float* scales;  // [m][stride / 32]
    const float* sums;    // [m][stride / 32]
    float* out;           // [m] rows, `out_stride` apart
    i64 stride, out_stride;
    int rows, groups, m;
};

// A lane's part of a group.
template <int W> struct Group {
    uint4 v[vectors(W)];
    uint2 fifth, scale, super;
};

// Read once: not to be kept in L1.
DEVICE uint4 load_16(const u8* p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}
DEVICE uint2 load_8(const u8* p) {
    uint2 v;
    asm volatile("ld.global.nc.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
    return v;
}
DEVICE u32 load_4(const u8* p) {
    u32 v;
    asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}

template <int W> DEVICE void load_group(Group<W>& to, const ProductArgs& a, int tile, int group, int lane) {
    const u8* p = a.groups_at + ((i64)tile * a.groups + group) * group_bytes(W);
    #pragma unroll
    for (int i = 0; i < vectors(W); ++i) to.v[i] = load_16(p + 512 * i + 16 * lane);
    p += 512 * vectors(W);
    if (has_fifth_bits(W)) {
        to.fifth = load_8(p + 8 * lane);
        p += 256;
    }
    if (scale_bytes(W) == 8) to.scale = load_8(p + 8 * lane);
    if (scale_bytes(W) == 4) to.scale.x = load_4(p + 4 * lane);
    if (is_super(W)) {
        i64 at = ((i64)tile * ((a.groups + 1) / 2) + group / 2) * 8 + lane / 4;
        const u8* s = a.supers_at + at * super_bytes(W);
        if (super_bytes(W) == 8) to.super = load_8(s);
        else to.super.x = load_4(s);
    }
}

// A lane's part of a group that was copied to shared memory.
template <int W> DEVICE void read_group(Group<W>& to, const u8* p, const u8* supers, int lane) {
    #pragma unroll
    for (int i = 0; i < vectors(W); ++i) to.v[i] = *reinterpret_cast<const uint4*>(p + 512 * i + 16 * lane);
    p += 512 * vectors(W);
    if (has_fifth_bits(W)) to.fifth = *reinterpret_cast<const uint2*>(p + 8 * lane);
    p += has_fifth_bits(W) ? 256 : 0;
    if (scale_bytes(W) == 8) to.scale = *reinterpret_cast<const uint2*>(p + 8 * lane);
    if (scale_bytes(W) == 4) to.scale.x = *reinterpret_cast<const u32*>(p + 4 * lane);
    if (super_bytes(W) == 8) to.super = *reinterpret_cast<const uint2*>(supers + 8 * (lane / 4));
    if (super_bytes(W) == 4) to.super.x = *reinterpret_cast<const u32*>(supers + 4 * (lane / 4));
}

DEVICE u32 word_of(const uint4& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }
DEVICE u32 shift(u32 x, int left) { return left >= 0 ? x << left : x >> -left; }

// Codes of block j, four a register, before the zero point is taken from them.
template <int W> DEVICE void codes_of(u32 (&a)[4], const Group<W>& from, int j) {
    #pragma unroll
    for (int i = 0; i < 4; ++i) {
        if constexpr (vectors(W) == 4) {
            a[i] = word_of(from.v[j], i);
        } else {
            u32 low = word_of(from.v[j / 2], 2 * (j % 2) + i / 2);
            a[i] = (i % 2 ? low >> 4 : low) & 0x0f0f0f0fu;
            if (has_fifth_bits(W)) a[i] |= shift(j / 2 ? from.fifth.y : from.fifth.x, 4 - (4 * (j % 2) + i)) & 0x10101010u;
            if (W == W_Q6_K) a[i] |= shift(word_of(from.v[vectors(W) - 1], j), 4 - 2 * i) & 0x30303030u;
        }
    }
}

// Scales and offsets of rows g and g + 8 in block t: each lane works out those of the block whose scales it holds. For
// Q6_K the scale is that of the super block, and `sixteenths` has the integer scales of halves of the block: a byte each,
// {first of g, second of g, first of g + 8, second of g + 8}.
struct Scales {
    float scale[2], offset[2];
    u32 sixteenths;
};
template <int W> DEVICE Scales scales_of(const Group<W>& from) {
    Scales s = {};
    u32 x = from.scale.x;
    if (W == W_Q4_K || W == W_Q5_K) {
        // d(g), dmin(g), d(g + 8), dmin(g + 8); scale(g), minimum(g), scale(g + 8), minimum(g + 8)
        s.scale[0] = half_to_float(from.super.x & 0xffff) * (float)(x & 0xff);
        s.offset[0] = -half_to_float(from.super.x >> 16) * (float)(x >> 8 & 0xff);
        s.scale[1] = half_to_float(from.super.y & 0xffff) * (float)(x >> 16 & 0xff);
        s.offset[1] = -half_to_float(from.super.y >> 16) * (float)(x >> 24);
    } else if (W == W_Q6_K) {
        s.scale[0] = half_to_float(from.super.x & 0xffff), s.scale[1] = half_to_float(from.super.x >> 16);
        s.sixteenths = x;
    } else {
        s.scale[0] = half_to_float(x & 0xffff), s.scale[1] = half_to_float(x >> 16);
        if (has_minimum(W)) s.offset[0] = half_to_float(from.scale.y & 0xffff), s.offset[1] = half_to_float(from.scale.y >> 16);
    }
    return s;
}
// Scales of block j, from the lane that holds them.
template <int W> DEVICE void scales_at(float (&scale)[2], int (&sixteenths)[2][2], const Scales& s, int j, int lane) {
    #pragma unroll
    for (int i = 0; i < 2; ++i) scale[i] = W == W_Q6_K ? s.scale[i] : __shfl_sync(~0u, s.scale[i], (lane & ~3) + j);
    u32 x = W == W_Q6_K ? __shfl_sync(~0u, s.sixteenths, (lane & ~3) + j) : 0;
    #pragma unroll
    for (int i = 0; i < 4; ++i) sixteenths[i % 2][i / 2] = (int)(x << (24 - 8 * i)) >> 24;
}

// First of the four columns of register 2 h or 2 h + 1 in a block of 32.
template <int W> DEVICE int column_of(int h, int t) { return W == W_Q6_K ? 16 * h + 4 * t : 8 * t + 4 * h; }

// The four values of step s (16 columns) of rows g and g + 8: columns 4 t and three on, as mma.m16n8k8 takes them:
// a[h] = columns 4 t + 2 h and the next: {row g, row g + 8, row g next, row g + 8 next}.
template <int W> DEVICE void floats_of(float (&a)[2][4], const Group<W>& from, int s) {
    #pragma unroll
    for (int h = 0; h < 2; ++h) {
        if (W == W_F32) {
            #pragma unroll
            for (int i = 0; i < 4; ++i) a[h][i] = __uint_as_float(word_of(from.v[(2 * s + h) & (vectors(W) - 1)], i));
        } else {
            u32 top = word_of(from.v[s], h), low = word_of(from.v[s], 2 + h);
            a[h][0] = W == W_F16 ? half_to_float(top & 0xffff) : __uint_as_float(top << 16);
            a[h][1] = W == W_F16 ? half_to_float(low & 0xffff) : __uint_as_float(low << 16);
            a[h][2] = W == W_F16 ? half_to_float(top >> 16) : __uint_as_float(top & 0xffff0000u);
            a[h][3] = W == W_F16 ? half_to_float(low >> 16) : __uint_as_float(low & 0xffff0000u);
        }
    }
}

// Four values of one row, that of g (or of g + 8: `upper`), for kernels that want rows and no products: half h of block
// j, columns `first_column` and three on in the group. All lanes of the row's four take part.
template <int W> DEVICE int first_column(int j, int h, int t) {
    return 32 * j + (is_float(W) ? 16 * h + 4 * t : column_of<W>(h, t));
}
template <int W> DEVICE void four_of_row(float (&v)[4], const Group<W>& from, const Scales& s, int j, int h, int upper, int lane) {
    if constexpr (is_float(W)) {
        float w[2][4];
        floats_of<W>(w, from, 2 * j + h);
        #pragma unroll
        for (int i = 0; i < 4; ++i) v[i] = upper ? w[i / 2][2 * (i % 2) + 1] : w[i / 2][2 * (i % 2)];
    } else {
        u32 w[4];
        codes_of<W>(w, from, j);
        u32 codes = upper ? w[2 * h + 1] : w[2 * h];
        float scales[2], offset = __shfl_sync(~0u, upper ? s.offset[1] : s.offset[0], (lane & ~3) + j);
        int sixteenths[2][2], point = (int)(zero_point(W) << 24) >> 24;
        scales_at<W>(scales, sixteenths, s, j, lane);
        float scale = upper ? scales[1] : scales[0];
        if (W == W_Q6_K) scale *= (float)(upper ? sixteenths[h][1] : sixteenths[h][0]);
        #pragma unroll
        for (int i = 0; i < 4; ++i) {
            int code = W == W_Q8_0 ? (int)(codes << (24 - 8 * i)) >> 24 : (int)(codes >> (8 * i) & 0xff) + point;
            v[i] = scale * (float)code + offset;
        }
    }
}

DEVICE void mma_32(int (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEVICE void mma_16(int (&c)[4], u32 a0, u32 a1, u32 b) {
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]) : "r"(a0), "r"(a1), "r"(b));
}
DEVICE void mma_tf32(float (&c)[4], const float (&a)[4], float b0, float b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
          "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}
DEVICE void mma_4(float (&c)[4], float a0, float a1, float b) {
    asm("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(__float_as_uint(a0)), "r"(__float_as_uint(a1)), "r"(__float_as_uint(b)));
}
// The nearest number of 11 bits, which tf32 takes as it is. What is left of x has 13 bits at most.
DEVICE float leading(float x) { return __uint_as_float((__float_as_uint(x) + 0x1000u) & 0xffffe000u); }

// What the zero points of a block's codes add: depends on the activations only.
template <int W> DEVICE void zero_points(int (&z)[2][4], u32 b0, u32 b1) {
    #pragma unroll
    for (int i = 0; i < 4; ++i) z[0][i] = z[1][i] = 0;
    u32 point = zero_point(W), all[4] = {point, point, point, point};
    if (W == W_Q6_K) {
        mma_16(z[0], point, point, b0);
        mma_16(z[1], point, point, b1);
    } else if (point != 0) {
        mma_32(z[0], all, b0, b1);
    }
}

// Adds block j of 32 columns: rows g and g + 8 by activation rows 2 t and 2 t + 1, whose scales are given.
template <int W> DEVICE void add_block(float (&acc)[4], const u32 (&a)[4], const Scales& s, int j, int lane, u32 b0, u32 b1,
                                       const int (&z)[2][4], float2 x_scale) {
    float scale[2];
    int sixteenths[2][2], c[4] = {z[0][0], z[0][1], z[0][2], z[0][3]};
    scales_at<W>(scale, sixteenths, s, j, lane);
    if (W == W_Q6_K) {
        int d[4] = {z[1][0], z[1][1], z[1][2], z[1][3]};
        mma_16(c, a[0], a[1], b0);
        mma_16(d, a[2], a[3], b1);
        // Below 2^24, so still exact as a float.
        #pragma unroll
        for (int i = 0; i < 4; ++i) c[i] = c[i] * sixteenths[0][i / 2] + d[i] * sixteenths[1][i / 2];
    } else {
        mma_32(c, a, b0, b1);
    }
    #pragma unroll
    for (int i = 0; i < 4; ++i) acc[i] += scale[i / 2] * (i % 2 ? x_scale.y : x_scale.x) * (float)c[i];
}

// Adds the offsets of the four blocks of a group times the sums of their activations, `sum` being that of block t of
// activation row g: a product over four columns, for which lanes hold what mma.m16n8k4 takes. Both split in two.
template <int W> DEVICE void add_offsets(float (&acc)[4], const Scales& s, float sum) {
    if (!has_minimum(W)) return;
    float top[2] = {leading(s.offset[0]), leading(s.offset[1])}, sum_top = leading(sum), c[4] = {0, 0, 0, 0};
    mma_4(c, s.offset[0] - top[0], s.offset[1] - top[1], sum_top);
    mma_4(c, top[0], top[1], sum - sum_top);
    mma_4(c, top[0], top[1], sum_top);
    #pragma unroll
    for (int i = 0; i < 4; ++i) acc[i] += c[i];
}

// Adds a step of 16 columns of float weights; x = columns 4 t and three on of activation row g. Weights of 16 bits are
// exact in tf32, activations and f32 weights are split in two: what is left out is below 2^-21 of a product.
template <int W> DEVICE void add_step(float (&c)[4], const float (&a)[2][4], float4 x) {
    #pragma unroll
    for (int h = 0; h < 2; ++h) {
        float b0 = h ? x.z : x.x, b1 = h ? x.w : x.y, top0 = leading(b0), top1 = leading(b1);
        if (W == W_F32) {
            float top[4], rest[4];
            #pragma unroll
            for (int i = 0; i < 4; ++i) top[i] = leading(a[h][i]), rest[i] = a[h][i] - top[i];
            mma_tf32(c, rest, top0, top1);
            mma_tf32(c, top, b0 - top0, b1 - top1);
            mma_tf32(c, top, top0, top1);
        } else {
            mma_tf32(c, a[h], b0 - top0, b1 - top1);
            mma_tf32(c, a[h], top0, top1);
        }
    }
}
