// Norms the heads of queries, keys and values and turns queries and keys to their positions.
//
//   q, k: turn(x / rms(x) * weight, position); v: x / rms(x)
//   turn(x)[j] = x[j] cos - x[j + d/2] sin, turn(x)[j + d/2] = x[j + d/2] cos + x[j] sin, angle = position * frequency[j]
//
// grid (heads + 2 * kv_heads, rows), or (heads, rows) where a layer has no keys of its own; block 128, a thread has
// pairs j, j + 128, ...: head_dim up to 768. `raw` f32 [rows][raw_stride]: queries, keys, values; values start at
// `v_from`, which is where keys start if a layer takes its values from them. q [rows][heads][d], k and v
// [rows][kv_heads][d]. Position of row r: state[1] + r.

#include "attention_common.cuh"
#include "activations.cuh"

struct HeadsArgs {
    const float* raw;
    float* q;
    float* k;
    float* v;
    const float* q_weight;
    const float* k_weight;
    const float* frequencies; // [d / 2]
    const int* state;
    i64 raw_stride;
    int k_from, v_from, heads, kv_heads, head_dim;
    float eps;
};

constexpr int THREADS = 128, MOST = 3;

// Whole turns are taken off in f64: angles reach the length of the context, and sincosf's own way for such costs a stack.
DEVICE void turn_of(float angle, float& sine, float& cosine) {
    double halves = (double)angle * 0.31830988618379067154;
    sincospif((float)(halves - 2 * rint(halves * 0.5)), &sine, &cosine);
}

extern "C" __global__ void __launch_bounds__(THREADS) heads(const __grid_constant__ HeadsArgs a) {
    __shared__ float room[32];
    int slot = blockIdx.x, row = blockIdx.y, half = a.head_dim / 2;
    bool is_q = slot < a.heads, is_k = !is_q && slot < a.heads + a.kv_heads;
    int head = is_q ? slot : is_k ? slot - a.heads : slot - a.heads - a.kv_heads;
    const float* weight = is_q ? a.q_weight : a.k_weight;
    float low[MOST], high[MOST], w_low[MOST], w_high[MOST], frequency[MOST];
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int j = threadIdx.x + k * THREADS;
        bool there = j < half;
        w_low[k] = there && (is_q || is_k) ? weight[j] : 1;
        w_high[k] = there && (is_q || is_k) ? weight[j + half] : 1;
        frequency[k] = there ? a.frequencies[j] : 0;
    }
    release_next();
    await_previous();
    const float* from = a.raw + row * a.raw_stride + (is_q ? 0 : is_k ? a.k_from : a.v_from) + head * a.head_dim;
    float* to = is_q ? a.q + ((i64)row * a.heads + head) * a.head_dim
                     : (is_k ? a.k : a.v) + ((i64)row * a.kv_heads + head) * a.head_dim;
    float squares = 0;
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int j = threadIdx.x + k * THREADS;
        low[k] = j < half ? from[j] : 0;
        high[k] = j < half ? from[j + half] : 0;
        squares += low[k] * low[k] + high[k] * high[k];
    }
    float inverse = 1 / sqrtf(block_sum(squares, room) / a.head_dim + a.eps);
    float position = (float)(a.state[1] + row);
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int j = threadIdx.x + k * THREADS;
        if (j >= half) break;
        float x = low[k] * inverse * w_low[k], y = high[k] * inverse * w_high[k], sine = 0, cosine = 1;
        if (is_q || is_k) turn_of(position * frequency[k], sine, cosine);
        to[j] = x * cosine - y * sine;
        to[j + half] = y * cosine + x * sine;
    }
}
