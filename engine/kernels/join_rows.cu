// What a draft step starts from: an embedded token and a hidden row, side by side.
//
//   x = [embedding, hidden[row]]
//
// grid (2 n / 256 rounded up); block 256. `row` is read on the device: which row of the last verify step the accepted
// tokens end in is not known when a graph is captured. x as activations.cuh, one row.

#include "attention_common.cuh"
#include "activations.cuh"

struct JoinRowsArgs {
    ActivationRows x;
    const float* embedding; // [n]
    const float* hidden; // [rows][hidden_stride]
    const int* row; // absent: row 0
    i64 hidden_stride;
    int n;
};

extern "C" __global__ void __launch_bounds__(256) join_rows(const __grid_constant__ JoinRowsArgs a) {
    int i = blockIdx.x * 256 + threadIdx.x;
    release_next();
    await_previous();
    if (i - (int)(threadIdx.x & 31) >= a.x.stride) return; // whole warps
    const float* hidden = a.hidden + (a.row ? *a.row : 0) * a.hidden_stride;
    store_activation(a.x, 0, i, i < a.n ? a.embedding[i] : i < 2 * a.n ? hidden[i - a.n] : 0);
}
