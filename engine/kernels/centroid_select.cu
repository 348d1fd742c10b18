// The tokens of the nearest centroids: what a draft's head scores.
//
//   candidates = { order[c][w] : c among the `kept` centroids of the greatest scores, the lower number among equals }
//
// With `logits` [vocab] the blocks after the first fill them with -inf: candidate_scores.cu then puts the candidates' there.
//
// grid 1, or 1 and any number; block 1024, a thread has scores i, i + 1024, ...: up to 8192. The score of the last one kept is found bit by bit
// (how many are at least this?), 32 counts over the block; 18 us of counting every rank took four times as long.

#include "attention_common.cuh"

struct CentroidSelectArgs {
    const float* scores; // [count]
    const u32* order; // [count][width] of token ids
    u32* candidates; // [kept][width]
    float* logits; // [vocab], or absent
    int count, kept, width, vocab;
};

constexpr int THREADS = 1024, MOST = 8;

// Ascending as the floats are.
DEVICE u32 key_of(float x) {
    u32 bits = (u32)__float_as_int(x);
    return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

extern "C" __global__ void __launch_bounds__(THREADS) centroid_select(const __grid_constant__ CentroidSelectArgs a) {
    __shared__ int nearest[1024];
    __shared__ int filled;
    __shared__ u32 equal[MOST * THREADS / 32];
    release_next();
    await_previous();
    if (blockIdx.x > 0) {
        int first = (blockIdx.x - 1) * THREADS + threadIdx.x, stride = (gridDim.x - 1) * THREADS;
        for (int i = first; i < a.vocab; i += stride) a.logits[i] = NEG_INF;
        return;
    }
    u32 key[MOST];
    int own = (a.count + THREADS - 1) / THREADS;
    #pragma unroll
    for (int e = 0; e < MOST; ++e) {
        int c = threadIdx.x + e * THREADS;
        key[e] = c < a.count ? key_of(a.scores[c]) : 0;
    }
    u32 last = 0; // key of the last one kept
    for (u32 bit = 0x80000000u; bit != 0; bit >>= 1) {
        int count = 0;
        #pragma unroll
        for (int e = 0; e < MOST; ++e)
            if (e < own) count += __syncthreads_count(key[e] >= (last | bit));
        if (count >= a.kept) last |= bit;
    }
    if (threadIdx.x == 0) filled = 0;
    __syncthreads();
    #pragma unroll
    for (int e = 0; e < MOST; ++e) {
        int c = threadIdx.x + e * THREADS;
        bool there = c < a.count;
        if (there && key[e] > last) nearest[atomicAdd(&filled, 1)] = c;
        u32 same = __ballot_sync(~0u, there && key[e] == last);
        if ((threadIdx.x & 31) == 0) equal[c / 32] = same;
    }
    __syncthreads();
    // Of equals the lowest numbers are kept: a set that does not depend on who came first.
    if (threadIdx.x == 0) {
        int place = filled;
        for (int word = 0; word < own * THREADS / 32 && place < a.kept; ++word)
            for (u32 rest = equal[word]; rest != 0 && place < a.kept; rest &= rest - 1)
                nearest[place++] = word * 32 + __ffs((int)rest) - 1;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < a.kept * a.width; i += THREADS)
        a.candidates[i] = a.order[(i64)nearest[i / a.width] * a.width + i % a.width];
}
