// Writes new keys or values into the cache, in any format, at cells that the device's own position tells.
//
//   cell (first_pos + row) % cells of KV head h  <-  encode(x[row][h])
//
// grid (rows, kv_heads, 2: keys, values); block 128: a warp takes groups of 128 elements, 4 a lane.
// x f32 [rows][kv_heads][head_dim]; rows as in attention_common.cuh. Serves every row of the table.
// Turbo: n = |x|, x / n rotated, nearest centroid by thresholds (a tie takes the upper code), norm n / |centroids|.

#include "attention_common.cuh"

struct KvWriteArgs {
    const float* x[2]; // keys, values
    u8* cache[2];
    const int* state; // {kv_len, first_pos}
    i64 head_stride[2];
    float centroids[2][16]; // ascending; 4, 8 or 16 of them
    float thresholds[2][15];
    int format[2];
    int kv_heads, head_dim, cells;
};

DEVICE u16 float_to_half(float x) { u16 h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x)); return h; }
// To nearest even, in integers: sm_75 has no instruction for it.
DEVICE u16 float_to_bfloat(float x) {
    u32 bits = (u32)__float_as_int(x);
    return x != x ? 0x7fff : (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <int WIDTH> DEVICE float warp_max(float x) {
    #pragma unroll
    for (int i = WIDTH / 2; i > 0; i /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
    return x;
}
DEVICE float warp_sum(float x) {
    #pragma unroll
    for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(~0u, x, i);
    return x;
}
// The bits of the 2^n lanes around this one, joined.
template <int LANES> DEVICE u32 join(u32 bits) {
    #pragma unroll
    for (int i = 1; i < LANES; i *= 2) bits |= __shfl_xor_sync(~0u, bits, i);
    return bits;
}

// Four values of a block of 32 that 8 lanes share.
DEVICE void write_q8_0(u8* row, int dim, int d, const float (&x)[4]) {
    float scale = warp_max<8>(fmaxf(fmaxf(fabsf(x[0]), fabsf(x[1])), fmaxf(fabsf(x[2]), fabsf(x[3])))) / 127.0f;
    float inverse = scale == 0 ? 0 : 1 / scale;
    if (d >= round_up(dim, 32)) return;
    u32 codes = 0;
    #pragma unroll
    for (int i = 0; i < 4; ++i) codes |= (u32)(u8)(signed char)(int)roundf(x[i] * inverse) << 8 * i;
    *reinterpret_cast<u32*>(row + d) = codes;
    if (d % 32 == 0) *reinterpret_cast<u16*>(row + scale_offset(Q8_0, dim) + d / 16) = float_to_half(scale);
}

// Four values of a group of 128 that the warp shares.
DEVICE void write_turbo(u8* row, int format, int dim, int d, float (&x)[4], const float* centroids, const float* thresholds) {
    int lane = threadIdx.x & 31, entries = format == TURBO2 ? 4 : format == TURBO3 ? 8 : 16;
    float norm = sqrtf(warp_sum(x[0] * x[0] + x[1] * x[1] + x[2] * x[2] + x[3] * x[3]));
    float inverse = norm > 1e-10f ? 1 / norm : 0;
    #pragma unroll
    for (int i = 0; i < 4; ++i) x[i] *= inverse;
    rotate(x, false);
    // Lane l holds codes 8k + n of its block of 32: k = l % 8 / 2, n = 4 (l % 2) + i.
    u32 low = 0, third = 0;
    float squares = 0;
    int k = lane % 8 / 2, n = 4 * (lane % 2);
    #pragma unroll
    for (int i = 0; i < 4; ++i) {
        int code = 0;
        for (int e = 0; e + 1 < entries; ++e) code += x[i] >= thresholds[e];
        squares += centroids[code] * centroids[code];
        if (format == TURBO4) {
            low |= (u32)(code >= 8 ? code - 8 : 15 - code) << 4 * (n + i); // sign and magnitude
        } else {
            low |= (u32)(code & 3) << (4 * (n + i) + 2 * (k & 1));
            third |= (u32)(code >> 2) << (4 * (n + i) + k);
        }
    }
    float length = sqrtf(warp_sum(squares));
    float stored = norm > 1e-10f ? norm / length : 0;
    u32* words = reinterpret_cast<u32*>(row);
    int block = d / 32;
    low = format == TURBO4 ? join<2>(low) : join<4>(low);
    third = join<8>(third);
    if (format == TURBO4) {
        if (lane % 2 == 0) words[4 * block + k] = low;
    } else if (lane % 4 == 0) {
        words[2 * block + k / 2] = low;
    }
    if (format == TURBO3 && lane % 8 == 0) *reinterpret_cast<u32*>(row + code_bytes(TURBO3, dim) + 4 * block) = third;
    if (lane == 0) *reinterpret_cast<u16*>(row + scale_offset(format, dim) + d / 64) = float_to_half(stored);
}

extern "C" __global__ void __launch_bounds__(128) kv_write(const __grid_constant__ KvWriteArgs a) {
    int which = blockIdx.z, format = a.format[which], lane = threadIdx.x & 31;
    int cell = (a.state[1] + (int)blockIdx.x) % a.cells;
    const float* from = a.x[which] + ((i64)blockIdx.x * a.kv_heads + blockIdx.y) * a.head_dim;
    u8* row = a.cache[which] + blockIdx.y * a.head_stride[which] + (i64)cell * row_bytes(format, a.head_dim);
    for (int group = threadIdx.x >> 5; group * 128 < a.head_dim; group += 4) {
        int d = group * 128 + 4 * lane;
        float x[4];
        #pragma unroll
        for (int i = 0; i < 4; ++i) x[i] = d + i < a.head_dim ? from[d + i] : 0;
        if (format == F32) {
            #pragma unroll
            for (int i = 0; i < 4; ++i)
                if (d + i < a.head_dim) reinterpret_cast<float*>(row)[d + i] = x[i];
        } else if (format <= BF16) {
            #pragma unroll
            for (int i = 0; i < 4; ++i)
                if (d + i < a.head_dim)
                    reinterpret_cast<u16*>(row)[d + i] = format == F16 ? float_to_half(x[i]) : float_to_bfloat(x[i]);
        } else if (format == Q8_0) {
            write_q8_0(row, a.head_dim, d, x);
        } else {
            write_turbo(row, format, a.head_dim, d, x, a.centroids[which], a.thresholds[which]);
        }
    }
}
