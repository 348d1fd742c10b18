// Per-layer embeddings of all layers at once, in place:
//
//   p[row][layer] = (norm(p[row][layer] * scale) + e[row][layer]) / sqrt(2), norm(x) = x / rms(x) * weight
//
// where p is the projection of the embedded token and e its looked-up vector. grid (layers, rows); block 256, a thread
// has elements i, i + 256, ...: widths up to 1024. p, e f32 [rows][layers][width].

#include "attention_common.cuh"
#include "activations.cuh"

struct LayerInputsArgs {
    float* p;
    const float* e;
    const float* weight;
    float scale, eps;
    int width;
};

constexpr int THREADS = 256, MOST = 4;

extern "C" __global__ void __launch_bounds__(THREADS) layer_inputs(const __grid_constant__ LayerInputsArgs a) {
    __shared__ float room[32];
    release_next();
    await_previous();
    i64 from = ((i64)blockIdx.y * gridDim.x + blockIdx.x) * a.width;
    float x[MOST], squares = 0;
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int i = threadIdx.x + k * THREADS;
        x[k] = i < a.width ? a.p[from + i] * a.scale : 0;
        squares += x[k] * x[k];
    }
    float inverse = 1 / sqrtf(block_sum(squares, room) / a.width + a.eps);
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int i = threadIdx.x + k * THREADS;
        if (i < a.width) a.p[from + i] = (x[k] * inverse * a.weight[i] + a.e[from + i]) * 0.70710678118654752f;
    }
}
