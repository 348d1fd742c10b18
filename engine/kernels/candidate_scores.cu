// Scores of candidate tokens: scores[i] = W[ids[i]] . x, rows of a packed matrix. An id that is no row gives NaN.
//
// Compiled with -DTYPE=ggml's number. grid (candidates / 32 rounded up); block 128: four lanes have a row and go through its
// groups of columns, and those stand for the four lanes that hold the row in a product. x f32 [columns].

#include "matmul_common.cuh"

struct CandidateScoresArgs {
    ProductArgs matrix; // groups_at, supers_at, rows, groups
    const u32* ids;
    const float* x;
    float* scores;
    int count, columns;
};

DEVICE float part(const CandidateScoresArgs& a, int k, const float (&w)[4]) {
    float sum = 0;
    #pragma unroll
    for (int i = 0; i < 4; ++i)
        if (k + i < a.columns) sum += w[i] * a.x[k + i];
    return sum;
}

extern "C" __global__ void __launch_bounds__(128) candidate_scores(const __grid_constant__ CandidateScoresArgs a) {
    constexpr int W = TYPE, COLUMNS = group_columns(TYPE);
    release_next();
    await_previous();
    int lane = threadIdx.x & 31, t = lane % 4, place = blockIdx.x * 32 + threadIdx.x / 4;
    u32 id = place < a.count ? a.ids[place] : 0, row = id < (u32)a.matrix.rows ? id : 0;
    int upper = row / 8 % 2;
    float sum = 0;
    for (int group = 0; group < a.matrix.groups; ++group) {
        Group<W> weights;
        load_group<W>(weights, a.matrix, row / 16, group, row % 8 * 4 + t);
        #pragma unroll
        for (int j = 0; j < COLUMNS / 32; ++j) {
            if constexpr (!is_float(W)) {
                u32 w[4];
                codes_of<W>(w, weights, j);
                Scales s = scales_of<W>(weights, j, lane);
                int point = (int)(zero_point(W) << 24) >> 24;
                #pragma unroll
                for (int h = 0; h < 2; ++h) {
                    u32 codes = upper ? w[2 * h + 1] : w[2 * h];
                    float scale = upper ? s.scale[1] : s.scale[0], offset = upper ? s.offset[1] : s.offset[0];
                    if (W == W_Q6_K) scale *= (float)(upper ? s.sixteenths[h][1] : s.sixteenths[h][0]);
                    float v[4];
                    #pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        int code = W == W_Q8_0 ? (int)(codes << (24 - 8 * i)) >> 24 : (int)(codes >> (8 * i) & 0xff) + point;
                        v[i] = scale * (float)code + offset;
                    }
                    sum += part(a, group * COLUMNS + 32 * j + column_of<W>(h, t), v);
                }
            } else {
                #pragma unroll
                for (int h = 0; h < 2; ++h) {
                    float w[2][4];
                    floats_of<W>(w, weights, 2 * j + h);
                    float v[4] = {upper ? w[0][1] : w[0][0], upper ? w[0][3] : w[0][2], upper ? w[1][1] : w[1][0], upper ? w[1][3] : w[1][2]};
                    sum += part(a, group * COLUMNS + 32 * j + 16 * h + 4 * t, v);
                }
            }
        }
    }
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    if (t == 0 && place < a.count) a.scores[place] = id == row ? sum : __int_as_float(0x7fc00000);
}
