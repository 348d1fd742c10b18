// The dense block and the experts of a row become one block's output.
//
//   y = dense / rms(dense) * dense_weight + f / rms(f) * experts_weight,  f = sum over s of weights[s] * experts[s]
//   rms(a) = sqrt(mean(a^2) + eps)
//
// grid (rows); block 1024, a thread has 4 elements, or 8 of rows beyond 4096; rows of up to 8192. dense, y f32 [rows][n],
// n a multiple of 4, y may be dense; experts f32 [rows][used][n]; weights f32 [rows][used]. Experts are added in the order of their weights.

#include "attention_common.cuh"

struct JoinExpertsArgs {
    const float* dense;
    const float* dense_weight;
    const float* experts;
    const float* weights;
    const float* experts_weight;
    float* y;
    int n, used;
    float eps;
};

constexpr int MOST = 2, THREADS = 1024;

DEVICE float dot4(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }

// Sums of two values over the block, the same bits in every thread.
DEVICE float2 block_sums(float2 x, float2* room) {
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) x.x += __shfl_xor_sync(~0u, x.x, lanes), x.y += __shfl_xor_sync(~0u, x.y, lanes);
    int lane = threadIdx.x & 31;
    if (lane == 0) room[threadIdx.x >> 5] = x;
    __syncthreads();
    x = room[lane];
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) x.x += __shfl_xor_sync(~0u, x.x, lanes), x.y += __shfl_xor_sync(~0u, x.y, lanes);
    return x;
}

extern "C" __global__ void __launch_bounds__(THREADS) join_experts(const __grid_constant__ JoinExpertsArgs a) {
    __shared__ float2 room[THREADS / 32];
    float4 dense[MOST], f[MOST];
    float2 sums = make_float2(0, 0);
    release_next();
    await_previous();
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int i = 4 * (threadIdx.x + k * THREADS);
        dense[k] = f[k] = make_float4(0, 0, 0, 0);
        if (i < a.n) {
            dense[k] = *reinterpret_cast<const float4*>(a.dense + (i64)blockIdx.x * a.n + i);
            for (int s = 0; s < a.used; ++s) {
                float4 x = *reinterpret_cast<const float4*>(a.experts + ((i64)blockIdx.x * a.used + s) * a.n + i);
                float w = a.weights[(i64)blockIdx.x * a.used + s];
                f[k].x += w * x.x, f[k].y += w * x.y, f[k].z += w * x.z, f[k].w += w * x.w;
            }
        }
        sums.x += dot4(dense[k], dense[k]), sums.y += dot4(f[k], f[k]);
    }
    sums = block_sums(sums, room);
    float of_dense = 1 / sqrtf(sums.x / a.n + a.eps), of_experts = 1 / sqrtf(sums.y / a.n + a.eps);
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int i = 4 * (threadIdx.x + k * THREADS);
        if (i < a.n) {
            float4 u = *reinterpret_cast<const float4*>(a.dense_weight + i), v = *reinterpret_cast<const float4*>(a.experts_weight + i);
            float4 y = make_float4(dense[k].x * of_dense * u.x + f[k].x * of_experts * v.x, dense[k].y * of_dense * u.y + f[k].y * of_experts * v.y,
                dense[k].z * of_dense * u.z + f[k].z * of_experts * v.z, dense[k].w * of_dense * u.w + f[k].w * of_experts * v.w);
            *reinterpret_cast<float4*>(a.y + (i64)blockIdx.x * a.n + i) = y;
        }
    }
}
