// The tokens of the nearest centroids: what a draft's head scores.
//
//   candidates[rank(c) * width + w] = order[c * width + w] for the centroids c of rank below `kept`,
//   rank(c) = centroids with a greater score, or an equal one and a lower number
//
// grid 1; block 1024; dynamic shared memory: the scores. Every thread counts for its centroids against all.

#include "attention_common.cuh"

struct CentroidSelectArgs {
    const float* scores; // [count]
    const u32* order; // [count][width] of token ids
    u32* candidates; // [kept][width]
    int count, kept, width;
};

constexpr int THREADS = 1024;

extern "C" __global__ void __launch_bounds__(THREADS) centroid_select(const __grid_constant__ CentroidSelectArgs a) {
    extern __shared__ float scores[];
    __shared__ int nearest[1024];
    release_next();
    await_previous();
    for (int i = threadIdx.x; i < a.count; i += THREADS) scores[i] = a.scores[i];
    __syncthreads();
    for (int c = threadIdx.x; c < a.count; c += THREADS) {
        float own = scores[c];
        int rank = 0;
        for (int i = 0; i < a.count; ++i) rank += scores[i] > own || (scores[i] == own && i < c);
        if (rank < a.kept) nearest[rank] = c;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < a.kept * a.width; i += THREADS)
        a.candidates[i] = a.order[(i64)nearest[i / a.width] * a.width + i % a.width];
}
