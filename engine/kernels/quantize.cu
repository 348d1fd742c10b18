// values -> codes, scales and sums of activations. Grid (stride / 256 rounded up, rows); block 256: a warp has 32 columns.

#include "attention_common.cuh"
#include "activations.cuh"

extern "C" __global__ void __launch_bounds__(256) quantize(const __grid_constant__ ActivationRows x) {
    release_next();
    await_previous();
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < x.stride) store_activation(x, blockIdx.y, i, x.values[blockIdx.y * x.stride + i]);
}
