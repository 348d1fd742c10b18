// Scores of candidate tokens: scores[i] = rows[i] . x, for rows that were looked up.
//
// grid (rows / 8 rounded up); block 256, a warp has a row. rows f32 [count][n], x f32 [n].

#include "attention_common.cuh"

struct RowDotsArgs {
    const float* rows;
    const float* x;
    float* scores;
    int count, n;
};

extern "C" __global__ void __launch_bounds__(256) row_dots(const __grid_constant__ RowDotsArgs a) {
    int lane = threadIdx.x & 31, row = blockIdx.x * 8 + (threadIdx.x >> 5);
    release_next();
    await_previous();
    if (row >= a.count) return;
    float sum = 0;
    for (int i = lane; i < a.n; i += 32) sum += a.rows[(i64)row * a.n + i] * a.x[i];
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
    if (lane == 0) a.scores[row] = sum;
}
