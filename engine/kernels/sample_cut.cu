// One digit of a cut: which key is the last that top-k or top-p leaves.
//
// A radix search over the keys of a row's logits, eight bits a launch from the highest on: the sums of the tokens whose
// key begins with the digits found so far, by their next digit; the digit at which the wanted rank (top-k) or mass
// (top-p) is reached is the next one found. With the last digit the cut is known but for the tokens of equal logit at
// its end: sample_find.cu counts out how many of them, lowest ids first, are left.
//
// grid (parts, rows); block 256. `sums` and `arrived` are 0 before and after.

#include "attention_common.cuh"
#include "sampling.cuh"

struct SampleCutArgs {
    const float* logits; // [rows][n]
    const u32* best; // ids of the greatest; NONE: nothing can be drawn
    SampledRow* rows;
    u64* sums; // [rows][256]
    u32* arrived; // [rows]
    i64 stride;
    double top_p; // 0 to 1; negative: the cut is by rank
    u32 top_k;
    int n;
    int shift; // of the digit: 24, 16, 8, 0
};

// Rank or mass to be reached, of the tokens that are left so far; 0: all of them.
DEVICE u64 wanted_of(const SampleCutArgs& a, u64 total) {
    if (a.top_p < 0) return total <= a.top_k ? 0 : a.top_k;
    u64 mass = (u64)ceil(__dmul_rn(a.top_p, __ull2double_rn(total)));
    return mass < 1 ? 1 : mass > total ? total : mass;
}

// Adds the values, below 2^45, of a whole warp, one addition for each digit that occurs.
DEVICE void add_together(u64* bins, u32 digit, u64 value) {
    u32 alike = __match_any_sync(~0u, digit);
    u32 low = __reduce_add_sync(alike, (u32)value & 0x3ffffffu), high = __reduce_add_sync(alike, (u32)(value >> 26));
    if ((threadIdx.x & 31) == (u32)__ffs(alike) - 1) atomicAdd(bins + digit, ((u64)high << 26) + low);
}

// Ends a cut at `key`: all tokens of this logit are left, or `left` of them are to be counted out.
DEVICE void end_cut(SampledRow* row, u32 key, u64 reached, u64 present, u64 one) {
    u64 ties = (reached + one - 1) / one;
    bool all = ties * one >= present;
    row->left = all ? 0 : ties;
    if (key != row->cut_key) row->cut_id = NONE;
    row->cut_key = key;
}

extern "C" __global__ void __launch_bounds__(THREADS) sample_cut(const __grid_constant__ SampleCutArgs a) {
    __shared__ u64 bins[THREADS];
    __shared__ bool is_last;
    release_next();
    await_previous();
    u32 best = a.best[blockIdx.y];
    SampledRow* row = a.rows + blockIdx.y;
    bool begins = a.shift == 24, by_mass = a.top_p >= 0;
    u64 wanted = row->left;
    if (best == NONE || (!begins && wanted == 0)) return;
    const float* logits = a.logits + blockIdx.y * a.stride;
    float max = logits[best];
    u32 cut_key = row->cut_key, cut_id = row->cut_id, prefix = begins ? 0 : row->prefix;
    bins[threadIdx.x] = 0;
    __syncthreads();
    for (int first = blockIdx.x * THREADS; first < a.n; first += gridDim.x * THREADS) {
        int i = first + threadIdx.x;
        float x = i < a.n ? logits[i] : NEG_INF;
        u32 key = key_of(x);
        bool takes_part = is_left(x, i, cut_key, cut_id) && (begins || (key ^ prefix) >> (a.shift + 8) == 0);
        u64 value = !takes_part ? 0 : by_mass ? mass(weight(__fsub_rn(x, max))) : 1;
        u32 digit = key >> a.shift & 255;
        // The first digit is sign and exponent, of which there are few: lanes would wait for each other at one bin.
        if (begins) add_together(bins, digit, value);
        else if (takes_part) atomicAdd(bins + digit, value);
    }
    __syncthreads();
    u64* sums = a.sums + blockIdx.y * THREADS;
    if (bins[threadIdx.x]) atomicAdd(sums + threadIdx.x, bins[threadIdx.x]);
    if (!comes_last(a.arrived + blockIdx.y, gridDim.x, &is_last)) return;
    u64 own = __ldcg(sums + threadIdx.x);
    sums[threadIdx.x] = 0;
    sums_from_here(own, bins);
    if (begins) wanted = wanted_of(a, bins[0]);
    u64 above = bins[threadIdx.x] - own;
    if (wanted == 0) {
        if (threadIdx.x == 0) row->left = 0;
    } else if (above < wanted && wanted <= bins[threadIdx.x]) {
        u32 found = prefix | threadIdx.x << a.shift;
        row->prefix = found;
        row->left = wanted - above;
        u64 one = by_mass ? mass(weight(__fsub_rn(logit_of(found), max))) : 1;
        if (a.shift == 0) end_cut(row, found, wanted - above, own, one);
    }
}
