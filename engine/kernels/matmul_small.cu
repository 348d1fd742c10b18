// out[r][i] = sum_k W[i][k] x[r][k] for up to 8 rows of activations, in one pass over the weights.
//
// A block has 16 rows of W, its warps share their groups of columns in turn, and what they have is added in shared
// memory in the order of the warps. mma.m16n8 has room for 8 activation rows whether they are there or not, and every
// sum is taken in the same order for each: a row's bits depend neither on m nor on the other rows.
//
// Compiled with -DTYPE=ggml's number. Grid (tiles of 16 rows); block 32 to 320 threads, the same for a matrix at every
// m; static shared memory 21 KB. Weights are asked for before the wait for the kernel before. Activations are the same
// for all blocks: they are read in whole lines and put in order in shared memory, since many small reads of few lines
// hold up L2.

#include "matmul_common.cuh"

#ifndef PREFETCH
#define PREFETCH 2
#endif
#ifndef BLOCKS
#define BLOCKS 2
#endif
constexpr int MOST_WARPS = 10, COLUMNS = group_columns(TYPE), MOST_M = 8;
// Bytes from one row of codes to the next in shared memory: rows g fall into other banks.
constexpr int PITCH = 160;

// A lane's part of a group of columns of activations. Codes: row lane / 8 (and 4 more), bytes 16 (lane % 8) and on;
// scale and sum: row lane / 4, block lane % 4. Floats: row lane / 4, four from 16 s + 4 (lane % 4) on.
template <int W> struct Rows {
    uint4 codes[2];
    float scale, sum;
};
template <> struct Rows<W_F32> { float4 values[2]; };
template <> struct Rows<W_F16> { float4 values[4]; };
template <> struct Rows<W_BF16> { float4 values[4]; };

// A warp's activations in order.
struct Exchange {
    alignas(16) u8 codes[MOST_M * PITCH];
    float scales[4][MOST_M], sums[4][MOST_M];
};

template <int W> DEVICE void load_rows(Rows<W>& to, const ProductArgs& a, int group, int lane) {
    if constexpr (is_float(W)) {
        #pragma unroll
        for (int s = 0; s < COLUMNS / 16; ++s) {
            int k = group * COLUMNS + 16 * s + 4 * (lane % 4);
            to.values[s] = make_float4(0, 0, 0, 0);
            if (lane / 4 < a.m && k < a.stride) to.values[s] = *reinterpret_cast<const float4*>(a.values + lane / 4 * a.stride + k);
        }
    } else {
        int blocks = (int)(a.stride / 32);
        bool there = 4 * group + lane % 8 / 2 < blocks;
        #pragma unroll
        for (int i = 0; i < 2; ++i) {
            int row = 4 * i + lane / 8;
            to.codes[i] = make_uint4(0, 0, 0, 0);
            if (there && row < a.m) to.codes[i] = *reinterpret_cast<const uint4*>(a.codes + row * a.stride + 128 * group + 16 * (lane % 8));
        }
        int block = 4 * group + lane % 4;
        to.scale = to.sum = 0;
        if (block < blocks && lane / 4 < a.m) {
            to.scale = a.scales[lane / 4 * blocks + block];
            if (has_minimum(W)) to.sum = a.sums[lane / 4 * blocks + block];
        }
    }
}

template <int W> DEVICE void add_group(float (&acc)[4], const Group<W>& weights, const Rows<W>& rows, Exchange& x, int lane) {
    if constexpr (is_float(W)) {
        float c[4] = {0, 0, 0, 0};
        #pragma unroll
        for (int s = 0; s < COLUMNS / 16; ++s) {
            float w[2][4];
            floats_of<W>(w, weights, s);
            add_step<W>(c, w, rows.values[s]);
        }
        // The tensor cores cut sums off; adding up groups outside of them keeps that small.
        #pragma unroll
        for (int i = 0; i < 4; ++i) acc[i] += c[i];
    } else {
        int g = lane / 4, t = lane % 4;
        __syncwarp();
        #pragma unroll
        for (int i = 0; i < 2; ++i) *reinterpret_cast<uint4*>(x.codes + (4 * i + lane / 8) * PITCH + 16 * (lane % 8)) = rows.codes[i];
        x.scales[t][g] = rows.scale;
        if (has_minimum(W)) x.sums[t][g] = rows.sum;
        __syncwarp();
        #pragma unroll
        for (int j = 0; j < 4; ++j) {
            const u8* row = x.codes + g * PITCH + 32 * j;
            u32 w[4], b0, b1;
            if (W == W_Q6_K) {
                b0 = *reinterpret_cast<const u32*>(row + column_of<W>(0, t)), b1 = *reinterpret_cast<const u32*>(row + column_of<W>(1, t));
            } else {
                uint2 both = *reinterpret_cast<const uint2*>(row + column_of<W>(0, t));
                b0 = both.x, b1 = both.y;
            }
            float2 scale = *reinterpret_cast<const float2*>(&x.scales[j][2 * t]), sum = make_float2(0, 0);
            if (has_minimum(W)) sum = *reinterpret_cast<const float2*>(&x.sums[j][2 * t]);
            int z[2][4];
            codes_of<W>(w, weights, j);
            zero_points<W>(z, b0, b1);
            add_block<W>(acc, w, scales_of<W>(weights, j, lane), b0, b1, z, scale, sum);
        }
    }
}

extern "C" __global__ void __launch_bounds__(32 * MOST_WARPS, BLOCKS) matmul_small(const __grid_constant__ ProductArgs a) {
    __shared__ Exchange exchange[is_float(TYPE) ? 1 : MOST_WARPS];
    __shared__ float parts[MOST_WARPS][128];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5, tile = blockIdx.x;
    Group<TYPE> weights[PREFETCH];
    #pragma unroll
    for (int p = 0; p < PREFETCH; ++p)
        if (warp + p * warps < a.groups) load_group<TYPE>(weights[p], a, tile, warp + p * warps, lane);
    release_next();
    await_previous();

    Rows<TYPE> rows[PREFETCH];
    #pragma unroll
    for (int p = 0; p < PREFETCH; ++p)
        if (warp + p * warps < a.groups) load_rows<TYPE>(rows[p], a, warp + p * warps, lane);

    float acc[4] = {0, 0, 0, 0};
    for (int first = warp; first < a.groups; first += PREFETCH * warps) {
        #pragma unroll
        for (int p = 0; p < PREFETCH; ++p) {
            int group = first + p * warps, later = group + PREFETCH * warps;
            if (group < a.groups) add_group<TYPE>(acc, weights[p], rows[p], exchange[is_float(TYPE) ? 0 : warp], lane);
            if (later < a.groups) {
                load_group<TYPE>(weights[p], a, tile, later, lane);
                load_rows<TYPE>(rows[p], a, later, lane);
            }
        }
    }
    *reinterpret_cast<float4*>(&parts[warp][4 * lane]) = make_float4(acc[0], acc[1], acc[2], acc[3]);
    __syncthreads();
    // Sixteen rows by eight activation rows.
    for (int i = threadIdx.x; i < 16 * a.m; i += blockDim.x) {
        int row = i % 16, r = i / 16, place = 4 * (4 * (row % 8) + r / 2) + 2 * (row / 8) + r % 2;
        float sum = 0;
        for (int w = 0; w < warps; ++w) sum += parts[w][place];
        if (16 * tile + row < a.rows) a.out[r * a.out_stride + 16 * tile + row] = sum;
    }
}
