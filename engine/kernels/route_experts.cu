// The experts of each row, and the rows of each expert.
//
//   p = softmax(logits[r]);  the `used` greatest, the lower number among equals
//   weights[r][s] = p_s / (sum of the chosen) * scale[expert s]
//   entries: for every expert that was chosen, its pairs in groups of up to eight (experts.cuh)
//
// What the softmax divides by falls out, so only the chosen are exponentiated. Which column of an entry a pair gets is not
// determined, and changes no bit: columns of a product do not know of each other. A logit that is no number makes weights
// that are none.
//
// Compiled with -DPER_LANE=experts / 32 rounded up. grid 1; block 1024, a warp takes rows in turn. Up to 1024 experts, 32
// choices. logits f32 [rows][experts], scale f32 [experts], weights f32 [rows][used], choices [rows][used].

#include "attention_common.cuh"
#include "experts.cuh"

struct RouteExpertsArgs {
    const float* logits;
    const float* scale;
    float* weights;
    int* choices;
    ExpertEntry* entries;
    int rows, experts, used, most_entries;
};

constexpr int THREADS = 1024, WARPS = THREADS / 32;

// The choices of one row, by a warp.
DEVICE void choose(const RouteExpertsArgs& a, int row, int lane) {
    float v[PER_LANE];
    #pragma unroll
    for (int k = 0; k < PER_LANE; ++k) {
        int e = lane + 32 * k;
        v[k] = e < a.experts ? a.logits[(i64)row * a.experts + e] : 0;
    }
    u32 taken = 0;
    float most = 0, logit = 0;
    int expert = 0;
    for (int s = 0; s < a.used; ++s) {
        float best = 0;
        int at = a.experts;
        #pragma unroll
        for (int k = 0; k < PER_LANE; ++k) {
            int e = lane + 32 * k;
            // A NaN is above everything: it is chosen, and spoils the row for all to see.
            bool better = at == a.experts || v[k] > best || (v[k] != v[k] && best == best);
            if (e < a.experts && !(taken >> k & 1) && better) best = v[k], at = e;
        }
        #pragma unroll
        for (int lanes = 16; lanes > 0; lanes /= 2) {
            float other = __shfl_xor_sync(~0u, best, lanes);
            int there = __shfl_xor_sync(~0u, at, lanes);
            bool nan = best != best, other_nan = other != other, equal = nan ? other_nan : other == best;
            bool better = equal ? there < at : other_nan || (!nan && other > best);
            if (there < a.experts && (at == a.experts || better)) best = other, at = there;
        }
        if (s == 0) most = best;
        if (at % 32 == lane) taken |= 1u << at / 32;
        if (s == lane) logit = best, expert = at;
    }
    float weight = lane < a.used ? expf(logit - most) : 0, sum = weight;
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
    if (lane < a.used) {
        a.weights[(i64)row * a.used + lane] = weight / sum * a.scale[expert];
        a.choices[(i64)row * a.used + lane] = expert;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) route_experts(const __grid_constant__ RouteExpertsArgs a) {
    // Pairs of an expert, entries up to and with it, pairs that have their place.
    __shared__ int pairs[THREADS], last[THREADS], placed[THREADS];
    int lane = threadIdx.x & 31, e = threadIdx.x, count = a.rows * a.used;
    release_next();
    await_previous();
    pairs[e] = placed[e] = 0;
    for (int row = threadIdx.x >> 5; row < a.rows; row += WARPS) choose(a, row, lane);
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += THREADS) atomicAdd(&pairs[a.choices[i]], 1);
    __syncthreads();
    int own = (pairs[e] + EXPERT_ROWS - 1) / EXPERT_ROWS;
    last[e] = own;
    __syncthreads();
    for (int step = 1; step < THREADS; step *= 2) {
        int before = e >= step ? last[e - step] : 0;
        __syncthreads();
        last[e] += before;
        __syncthreads();
    }
    int first = last[e] - own, total = last[THREADS - 1];
    for (int i = 0; i < own; ++i) {
        a.entries[first + i].expert = e;
        a.entries[first + i].count = min(EXPERT_ROWS, pairs[e] - EXPERT_ROWS * i);
    }
    for (int i = total + threadIdx.x; i < a.most_entries; i += THREADS) a.entries[i].count = 0;
    for (int i = threadIdx.x; i < count; i += THREADS) {
        int expert = a.choices[i], place = atomicAdd(&placed[expert], 1), from = expert ? last[expert - 1] : 0;
        a.entries[from + place / EXPERT_ROWS].pairs[place % EXPERT_ROWS] = i;
    }
}
