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

DEVICE void put(const GatherArgs& a, float* out, int k, float4 x) {
    float v[4] = {x.x, x.y, x.z, x.w};
    #pragma unroll
    for (int i = 0; i < 4; ++i)
        if (k + i < a.columns) out[k + i] = a.scale * v[i];
}

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
            float4 x;
            int k;
            if constexpr (is_float(W)) {
                float w[2][4];
                floats_of<W>(w, weights, 2 * j + h);
                x = upper ? make_float4(w[0][1], w[0][3], w[1][1], w[1][3]) : make_float4(w[0][0], w[0][2], w[1][0], w[1][2]);
                k = group * COLUMNS + 32 * j + 16 * h + 4 * t;
            } else {
                u32 w[4];
                codes_of<W>(w, weights, j);
                u32 codes = upper ? w[2 * h + 1] : w[2 * h];
                float scales[2], scale, offset = __shfl_sync(~0u, upper ? s.offset[1] : s.offset[0], (lane & ~3) + j);
                int sixteenths[2][2];
                scales_at<W>(scales, sixteenths, s, j, lane);
                scale = upper ? scales[1] : scales[0];
                if (W == W_Q6_K) scale *= (float)(upper ? sixteenths[h][1] : sixteenths[h][0]);
                int point = (int)(zero_point(W) << 24) >> 24;
                float v[4];
                #pragma unroll
                for (int i = 0; i < 4; ++i) {
                    int code = W == W_Q8_0 ? (int)(codes << (24 - 8 * i)) >> 24 : (int)(codes >> (8 * i) & 0xff) + point;
                    v[i] = scale * (float)code + offset;
                }
                x = make_float4(v[0], v[1], v[2], v[3]);
                k = group * COLUMNS + 32 * j + column_of<W>(h, t);
            }
            if (id != row) x = make_float4(NOT_A_NUMBER, NOT_A_NUMBER, NOT_A_NUMBER, NOT_A_NUMBER);
            if (there) put(a, out, k, x);
        }
    }
}
