// Joins the partial results of all splits, divides by the sum of weights and, for turbo values, rotates back.
//
//   out[c] = sum_s 2^(m_s - M) o_s[c] / sum_s 2^(m_s - M) l_s,  M = max_s m_s;  0 where a column sees nothing
//
// grid (columns = q_rows * heads, groups of 128 output dimensions); block 512: 32 lanes of 4 dimensions times 16 shares
// of the splits (at most 1024); static shared memory 12.4 KB. part_out [splits][columns][width], part_stat [splits][columns], out [columns][head_dim],
// or as activations.cuh where head_dim is a multiple of 32.
// With -DFEW_SPLITS, for at most 32 splits of many columns (prefill): grid (columns * groups / 8), block 256, a warp a
// column and group, splits summed one after the other; no shared memory.
// Serves every row of the table.

#include "attention_common.cuh"
#include "activations.cuh"

struct CombineArgs {
    const float* part_out;
    const float2* part_stat;
    float* out;
    ActivationRows x; // values absent: `out` is written, and no codes
    int columns, splits, width, head_dim, rotated, heads;
};

#ifdef FEW_SPLITS

extern "C" __global__ void __launch_bounds__(256) attention_combine(const __grid_constant__ CombineArgs a) {
    int lane = threadIdx.x & 31, groups = (a.width + 127) / 128, i = (int)blockIdx.x * 8 + (int)(threadIdx.x >> 5);
    int column = i / groups, d = i % groups * 128 + 4 * lane;
    release_next();
    await_previous();
    if (column >= a.columns) return; // the whole warp
    float2 stat = lane < a.splits ? a.part_stat[(i64)lane * a.columns + column] : make_float2(NEG_INF, 0);
    float top = stat.x;
    #pragma unroll
    for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, step));
    float weight = stat.y > 0 ? fast_exp2(stat.x - top) : 0, total = weight * stat.y;
    #pragma unroll
    for (int step = 16; step > 0; step /= 2) total += __shfl_xor_sync(~0u, total, step);
    float x[4] = {0, 0, 0, 0};
    for (int s = 0; s < a.splits; ++s) {
        float w = __shfl_sync(~0u, weight, s);
        if (w == 0 || d >= a.width) continue; // an empty split left nothing to read
        float4 part = *reinterpret_cast<const float4*>(a.part_out + ((i64)s * a.columns + column) * a.width + d);
        x[0] += w * part.x, x[1] += w * part.y, x[2] += w * part.z, x[3] += w * part.w;
    }
    float inverse = total > 0 ? 1 / total : 0;
    #pragma unroll
    for (int j = 0; j < 4; ++j) x[j] *= inverse;
    if (a.rotated) rotate(x, true);
    float4 result = make_float4(x[0], x[1], x[2], x[3]);
    u32 lanes = __ballot_sync(~0u, d < a.head_dim);
    if (d >= a.head_dim) return;
    if (a.x.values) store_activations(a.x, column / a.heads, column % a.heads * a.head_dim + d, result, lanes);
    else *reinterpret_cast<float4*>(a.out + (i64)column * a.head_dim + d) = result;
}

#else

constexpr int SHARES = 16, THREADS = 32 * SHARES, MOST_SPLITS = 1024, BATCH = 9;

// Parts of splits first, first + SHARES, ...: all loads before the first use.
DEVICE void fetch(float4 (&batch)[BATCH], const CombineArgs& a, int first, int column, int d) {
    #pragma unroll
    for (int i = 0; i < BATCH; ++i) {
        int s = first + i * SHARES;
        batch[i] = make_float4(0, 0, 0, 0);
        if (s < a.splits && d < a.width)
            batch[i] = *reinterpret_cast<const float4*>(a.part_out + ((i64)s * a.columns + column) * a.width + d);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) attention_combine(const __grid_constant__ CombineArgs a) {
    __shared__ float weights[MOST_SPLITS], tops[SHARES], totals[SHARES];
    __shared__ float4 shares[SHARES][32];
    int lane = threadIdx.x & 31, share = threadIdx.x >> 5, column = blockIdx.x, d = blockIdx.y * 128 + 4 * lane;
    release_next();
    await_previous();

    // The first parts are on their way while their weights are worked out.
    float4 batch[BATCH];
    fetch(batch, a, share, column, d);

    // Statistics, a thread a split: greatest score, weights, sum of weights.
    float2 stats[MOST_SPLITS / THREADS];
    float top = NEG_INF;
    #pragma unroll
    for (int i = 0; i < MOST_SPLITS / THREADS; ++i) {
        int s = threadIdx.x + i * THREADS;
        stats[i] = s < a.splits ? a.part_stat[(i64)s * a.columns + column] : make_float2(NEG_INF, 0);
        top = fmaxf(top, stats[i].x);
    }
    #pragma unroll
    for (int i = 16; i > 0; i /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, i));
    if (lane == 0) tops[share] = top;
    __syncthreads();
    #pragma unroll
    for (int s = 0; s < SHARES; ++s) top = fmaxf(top, tops[s]);
    float total = 0;
    #pragma unroll
    for (int i = 0; i < MOST_SPLITS / THREADS; ++i) {
        float weight = stats[i].y > 0 ? fast_exp2(stats[i].x - top) : 0;
        if (threadIdx.x + i * THREADS < a.splits) weights[threadIdx.x + i * THREADS] = weight;
        total += weight * stats[i].y;
    }
    #pragma unroll
    for (int i = 16; i > 0; i /= 2) total += __shfl_xor_sync(~0u, total, i);
    if (lane == 0) totals[share] = total;
    __syncthreads();

    // What an empty split left is fetched and never used.
    float4 sum = make_float4(0, 0, 0, 0);
    for (int first = share; first < a.splits; first += BATCH * SHARES) {
        if (first != share) fetch(batch, a, first, column, d);
        #pragma unroll
        for (int i = 0; i < BATCH; ++i) {
            int s = first + i * SHARES;
            float weight = s < a.splits ? weights[s] : 0;
            if (weight > 0)
                sum.x += weight * batch[i].x, sum.y += weight * batch[i].y, sum.z += weight * batch[i].z, sum.w += weight * batch[i].w;
        }
    }
    shares[share][lane] = sum;
    __syncthreads();
    if (share != 0) return;
    total = 0;
    #pragma unroll
    for (int s = 0; s < SHARES; ++s) total += totals[s];
    float inverse = total > 0 ? 1 / total : 0;
    float x[4] = {0, 0, 0, 0};
    #pragma unroll
    for (int s = 0; s < SHARES; ++s) {
        float4 o = shares[s][lane];
        x[0] += o.x, x[1] += o.y, x[2] += o.z, x[3] += o.w;
    }
    #pragma unroll
    for (int i = 0; i < 4; ++i) x[i] *= inverse;
    if (a.rotated) rotate(x, true);
    float4 result = make_float4(x[0], x[1], x[2], x[3]);
    u32 lanes = __ballot_sync(~0u, d < a.head_dim);
    if (d >= a.head_dim) return;
    if (a.x.values) store_activations(a.x, column / a.heads, column % a.heads * a.head_dim + d, result, lanes);
    else *reinterpret_cast<float4*>(a.out + (i64)column * a.head_dim + d) = result;
}

#endif
