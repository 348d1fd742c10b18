// The gate of a feed-forward block, or of a per-layer embedding: x = gelu(gate) * up, gelu in its tanh form.
//
// grid (row length / 256 rounded up, rows); block 256, a thread has one element. gate, up f32 with strides of their own;
// x as activations.cuh.

#include "attention_common.cuh"
#include "activations.cuh"

struct GeluMultiplyArgs {
    ActivationRows x;
    const float* gate;
    const float* up;
    i64 gate_stride, up_stride;
    int n;
};

extern "C" __global__ void __launch_bounds__(256) gelu_multiply(const __grid_constant__ GeluMultiplyArgs a) {
    int i = blockIdx.x * 256 + threadIdx.x;
    release_next();
    await_previous();
    if (i - (int)(threadIdx.x & 31) >= a.x.stride) return; // whole warps
    float x = 0;
    if (i < a.n) {
        float gate = a.gate[blockIdx.y * a.gate_stride + i];
        float u = 0.7978845608028654f * gate * (1 + 0.044715f * gate * gate);
        x = gate / (1 + expf(-2 * u)) * a.up[blockIdx.y * a.up_stride + i];
    }
    store_activation(a.x, blockIdx.y, i, x);
}
