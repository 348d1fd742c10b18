// The gate of a feed-forward block, or of a per-layer embedding: x = gelu(gate) * up, gelu in its tanh form.
//
// grid (row length / 512 rounded up, rows); block 128, a thread has four elements. gate, up f32 with strides of their
// own, all multiples of 4; x as activations.cuh.

#include "attention_common.cuh"
#include "activations.cuh"

struct GeluMultiplyArgs {
    ActivationRows x;
    const float* gate;
    const float* up;
    i64 gate_stride, up_stride;
    int n;
};

DEVICE float gated(float gate, float up) {
    float u = 0.7978845608028654f * gate * (1 + 0.044715f * gate * gate);
    return gate / (1 + expf(-2 * u)) * up;
}

extern "C" __global__ void __launch_bounds__(128) gelu_multiply(const __grid_constant__ GeluMultiplyArgs a) {
    int i = 4 * (blockIdx.x * 128 + threadIdx.x);
    release_next();
    await_previous();
    u32 lanes = __ballot_sync(~0u, i < a.x.stride);
    if (i >= a.x.stride) return;
    float4 x = make_float4(0, 0, 0, 0);
    if (i < a.n) {
        float4 gate = *reinterpret_cast<const float4*>(a.gate + blockIdx.y * a.gate_stride + i);
        float4 up = *reinterpret_cast<const float4*>(a.up + blockIdx.y * a.up_stride + i);
        x = make_float4(gated(gate.x, up.x), gated(gate.y, up.y), gated(gate.z, up.z), gated(gate.w, up.w));
    }
    store_activations(a.x, blockIdx.y, i, x, lanes);
}
