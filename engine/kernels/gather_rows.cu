// out[i][k] = scale * W[ids[i]][k]: rows of a packed matrix as floats. An id that is no row gives NaN.
//
// Compiled with -DTYPE=ggml's number. Grid (ids, ceil(groups / 32)); block 128: a warp has 8 groups, four lanes each,
// and those stand for the four lanes that hold the row in a product.

#include "matmul_common.cuh"

#define NOT_A_NUMBER __int_as_float(0x7fc00000)

struct GatherArgs {
    ProductArgs matrix; // groups_at, supers_at, rows, groups
    const u32* ids;
    float* out;
    i64 out_stride;
    int columns;
    float scale;
};

extern "C" __global__ void __launch_bounds__(128) gather_rows(const __grid_constant__ GatherArgs a) {
    constexpr int W = TYPE, COLUMNS = group_columns(TYPE);
    release_next();
    await_previous();
    u32 id = a.ids[blockIdx.x], row = id < (u32)a.matrix.rows ? id : 0;
    int lane = threadIdx.x & 31, t = lane % 4, upper = row / 8 % 2, group = (blockIdx.y * 4 + (threadIdx.x >> 5)) * 8 + lane / 4;
    bool there = group < a.matrix.groups;
    float* out = a.out + blockIdx.x * a.out_stride;
    Group<W> weights;
    load_group<W>(weights, a.matrix, row / 16, there ? group : 0, row % 8 * 4 + t);
    Scales s = scales_of<W>(weights);
    #pragma unroll
    for (int j = 0; j < COLUMNS / 32; ++j) {
        #pragma unroll
        for (int h = 0; h < 2; ++h) {
            float v[4];
            four_of_row<W>(v, weights, s, j, h, upper, lane);
            int k = group * COLUMNS + first_column<W>(j, h, t);
            #pragma unroll
            for (int i = 0; i < 4; ++i)
                if (there && k + i < a.columns) out[k + i] = id == row ? a.scale * v[i] : NOT_A_NUMBER;
        }
    }
}
