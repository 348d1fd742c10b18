// Scores of candidate tokens: scores[i] = W[ids[i]] . x, rows of a packed matrix. An id that is no row gives NaN. With
// `logits` a row's score is logits[id], too: a row over the whole vocabulary, for whoever draws from it.
//
// Compiled with -DTYPE=ggml's number. grid (candidates / 32 rounded up); block 128: four lanes have a row and go through its
// groups of columns, and those stand for the four lanes that hold the row in a product. x f32 [columns].

#include "matmul_common.cuh"

struct CandidateScoresArgs {
    ProductArgs matrix; // groups_at, supers_at, rows, groups
    const u32* ids;
    const float* x;
    float* scores;
    float* logits; // [matrix.rows], or absent
    int count, columns;
};

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
                    if (k + i < a.columns) sum += v[i] * a.x[k + i];
            }
        }
    }
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    if (t != 0 || place >= a.count) return;
    a.scores[place] = id == row ? sum : __int_as_float(0x7fc00000);
    if (a.logits && id == row) a.logits[id] = sum;
}
