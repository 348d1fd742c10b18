// A block's output joins the residual stream, and the stream is normed for the next block.
//
//   h = (h + y / rms(y) * y_weight) * scale      (y absent: h stays as it is)
//   x = h / rms(h) * x_weight                    (x_weight absent: x = h)
//   rms(a) = sqrt(mean(a^2) + eps)
//
// grid (rows); block 1024, a thread has elements i, i + 1024, ...: rows of up to 8192. h, y f32 [rows][n]; x as
// activations.cuh. Serves every place where a norm stands in a layer; rows do not know of each other.

#include "attention_common.cuh"
#include "activations.cuh"

struct ResidualNormArgs {
    ActivationRows x;
    float* h;
    const float* y;
    const float* y_weight;
    const float* x_weight;
    float scale, eps;
    int n;
};

constexpr int THREADS = 1024, MOST = 8;

extern "C" __global__ void __launch_bounds__(THREADS) residual_norm(const __grid_constant__ ResidualNormArgs a) {
    __shared__ float room[32];
    int tid = threadIdx.x;
    float y_weight[MOST], x_weight[MOST], h[MOST];
    // Weights are nobody's output: they come in while the kernel before this one still runs.
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int i = tid + k * THREADS;
        y_weight[k] = a.y && i < a.n ? a.y_weight[i] : 0;
        x_weight[k] = i < a.n ? (a.x_weight ? a.x_weight[i] : 1) : 0;
    }
    release_next();
    await_previous();
    float* h_row = a.h + (i64)blockIdx.x * a.n;
    float squares = 0;
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int i = tid + k * THREADS;
        h[k] = i < a.n ? h_row[i] : 0;
    }
    if (a.y) {
        const float* y_row = a.y + (i64)blockIdx.x * a.n;
        float y[MOST];
        #pragma unroll
        for (int k = 0; k < MOST; ++k) {
            int i = tid + k * THREADS;
            y[k] = i < a.n ? y_row[i] : 0;
            squares += y[k] * y[k];
        }
        float inverse = 1 / sqrtf(block_sum(squares, room) / a.n + a.eps);
        #pragma unroll
        for (int k = 0; k < MOST; ++k) {
            int i = tid + k * THREADS;
            h[k] = (h[k] + y[k] * inverse * y_weight[k]) * a.scale;
            if (i < a.n) h_row[i] = h[k];
        }
        squares = 0;
    }
    float inverse = 1;
    if (a.x_weight) {
        #pragma unroll
        for (int k = 0; k < MOST; ++k) squares += h[k] * h[k];
        inverse = 1 / sqrtf(block_sum(squares, room) / a.n + a.eps);
    }
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int i = tid + k * THREADS;
        if (i < a.x.stride) store_activation(a.x, blockIdx.x, i, h[k] * inverse * x_weight[k]);
    }
}
