// out[r][i] = sum_k W[i][k] x[r][k] for up to 8 rows of activations, in one pass over the weights.
//
// A block has 16 rows of W, its warps share their groups of columns in turn, and what they have is added in shared
// memory in the order of the warps. mma.m16n8 has room for 8 activation rows whether they are there or not, and every
// sum is taken in the same order for each: a row's bits depend neither on m nor on the other rows.
//
// Compiled with -DTYPE=ggml's number. Grid (tiles of 16 rows); block 32 to 320 threads, the same for a matrix at every
// m; static shared memory 5 KB. Weights are asked for before the wait for the kernel before.

#include "matmul_common.cuh"

#ifndef PREFETCH
#define PREFETCH 2
#endif
constexpr int MOST_WARPS = 10, COLUMNS = group_columns(TYPE);

// Activations may have been written by the kernel before, on any multiprocessor: past L1.
DEVICE u32 x_codes(const signed char* p) { return __ldcg(reinterpret_cast<const u32*>(p)); }

template <int W> DEVICE void add_group(float (&acc)[4], const Group<W>& weights, const ProductArgs& a, int group, int lane) {
    int g = lane / 4, t = lane % 4;
    if constexpr (is_float(W)) {
        float c[4] = {0, 0, 0, 0};
        #pragma unroll
        for (int s = 0; s < COLUMNS / 16; ++s) {
            int k = group * COLUMNS + 16 * s + 4 * t;
            float4 x = make_float4(0, 0, 0, 0);
            if (g < a.m && k < a.stride) x = __ldcg(reinterpret_cast<const float4*>(a.values + g * a.stride + k));
            float w[2][4];
            floats_of<W>(w, weights, s);
            add_step<W>(c, w, x);
        }
        // The tensor cores cut sums off; adding up groups outside of them keeps that small.
        #pragma unroll
        for (int i = 0; i < 4; ++i) acc[i] += c[i];
    } else {
        int blocks = (int)(a.stride / 32);
        u32 b[4][2];
        float2 scale[4], sum[4];
        #pragma unroll
        for (int j = 0; j < 4; ++j) {
            int block = 4 * group + j;
            bool there = block < blocks;
            b[j][0] = b[j][1] = 0;
            if (there && g < a.m) {
                const signed char* x = a.codes + g * a.stride + 32 * block;
                if (W == W_Q6_K) {
                    b[j][0] = x_codes(x + column_of<W>(0, t)), b[j][1] = x_codes(x + column_of<W>(1, t));
                } else {
                    uint2 both = __ldcg(reinterpret_cast<const uint2*>(x + column_of<W>(0, t)));
                    b[j][0] = both.x, b[j][1] = both.y;
                }
            }
            scale[j] = sum[j] = make_float2(0, 0);
            if (there && 2 * t < a.m) {
                scale[j].x = __ldcg(a.scales + (2 * t) * blocks + block);
                if (has_minimum(W)) sum[j].x = __ldcg(a.sums + (2 * t) * blocks + block);
            }
            if (there && 2 * t + 1 < a.m) {
                scale[j].y = __ldcg(a.scales + (2 * t + 1) * blocks + block);
                if (has_minimum(W)) sum[j].y = __ldcg(a.sums + (2 * t + 1) * blocks + block);
            }
        }
        #pragma unroll
        for (int j = 0; j < 4; ++j) {
            u32 w[4];
            int z[2][4];
            codes_of<W>(w, weights, j);
            zero_points<W>(z, b[j][0], b[j][1]);
            add_block<W>(acc, w, scales_of<W>(weights, j, lane), b[j][0], b[j][1], z, scale[j], sum[j]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(32 * MOST_WARPS, 2) matmul_small(const __grid_constant__ ProductArgs a) {
    __shared__ float parts[MOST_WARPS][128];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5, tile = blockIdx.x;
    Group<TYPE> weights[PREFETCH];
    #pragma unroll
    for (int p = 0; p < PREFETCH; ++p)
        if (warp + p * warps < a.groups) load_group<TYPE, true>(weights[p], a, tile, warp + p * warps, lane);
    release_next();
    await_previous();

    float acc[4] = {0, 0, 0, 0};
    for (int first = warp; first < a.groups; first += PREFETCH * warps) {
        #pragma unroll
        for (int p = 0; p < PREFETCH; ++p) {
            int group = first + p * warps, later = group + PREFETCH * warps;
            if (group < a.groups) add_group<TYPE>(acc, weights[p], a, group, lane);
            if (later < a.groups) load_group<TYPE, true>(weights[p], a, tile, later, lane);
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
