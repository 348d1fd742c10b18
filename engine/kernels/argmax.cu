// Soft cap of logits, in place, and the id of the greatest of each row, the lowest among equals.
//
//   logit = cap * tanh(logit / cap)   (cap 0: none)
//
// grid (parts, rows); block 256. The block that comes last in its row joins the parts, so one launch does it; `arrived`
// is 0 before and after. ids[row] = 0xffffffff where a logit is NaN or +inf, or none is finite: no token can be chosen.
// `next`, where there is one, gets the id too: the token that the next step of a draft embeds. `names` are the ids of
// logits that are not the whole vocabulary's.
//
// `margins`, where they are wanted, get how far the greatest is above the runner-up: 0 among equals, infinite where it is
// the only one that can be chosen. It rides along with the search.
//
// With `drafts`, of every row but the last, the last row to be done decides over them: verdict = {drafts before the first
// that is not its row's id, the id of the row behind them}. It costs no launch and nothing to bring beside the ids.

#include "attention_common.cuh"

struct Best { float logit; u32 id; float second; };

struct ArgmaxArgs {
    float* logits; // [rows][n]
    Best* parts; // [rows][gridDim.x]
    u32* arrived; // [rows]
    u32* ids; // [rows]
    float* margins; // [rows], or absent
    u32* next;
    const u32* names; // absent: a logit's id is its place
    const u32* drafts; // [rows - 1], or absent
    u32* verdict;
    u32* rows_done; // 0 before and after
    i64 stride;
    int n;
    float cap;
};

constexpr int THREADS = 256;
constexpr u32 NONE = 0xffffffffu;

// The better of two; one that cannot be chosen from (id NONE) with a logit that is no number spoils all.
DEVICE Best better(Best a, Best b) {
    if (!(a.logit < __int_as_float(0x7f800000))) return a; // NaN or +inf
    if (!(b.logit < __int_as_float(0x7f800000))) return b;
    Best best = b.logit > a.logit || (b.logit == a.logit && b.id < a.id) ? b : a;
    best.second = fmaxf(fmaxf(a.second, b.second), fminf(a.logit, b.logit));
    return best;
}

DEVICE Best block_best(Best best, Best* room) {
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        Best other = {__shfl_xor_sync(~0u, best.logit, lanes), __shfl_xor_sync(~0u, best.id, lanes),
                      __shfl_xor_sync(~0u, best.second, lanes)};
        best = better(best, other);
    }
    __syncthreads();
    if ((threadIdx.x & 31) == 0) room[threadIdx.x >> 5] = best;
    __syncthreads();
    best = room[0];
    for (int warp = 1; warp < THREADS / 32; ++warp) best = better(best, room[warp]);
    return best;
}

// By the thread that is done with a row.
DEVICE void judge(const ArgmaxArgs& a) {
    __threadfence();
    if (atomicAdd(a.rows_done, 1) != gridDim.y - 1) return;
    __threadfence();
    *a.rows_done = 0;
    u32 accepted = 0;
    while (accepted + 1 < gridDim.y && __ldcg(a.ids + accepted) == a.drafts[accepted]) ++accepted;
    a.verdict[0] = accepted;
    a.verdict[1] = __ldcg(a.ids + accepted);
}

extern "C" __global__ void __launch_bounds__(THREADS) argmax(const __grid_constant__ ArgmaxArgs a) {
    __shared__ Best room[THREADS / 32];
    __shared__ bool last;
    int row = blockIdx.y, parts = gridDim.x;
    release_next();
    await_previous();
    float* logits = a.logits + row * a.stride;
    Best best = {NEG_INF, NONE, NEG_INF};
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < a.n; i += parts * THREADS) {
        float x = logits[i];
        if (a.cap > 0) logits[i] = x = a.cap * tanhf(x / a.cap);
        best = better(best, Best{x, a.names ? a.names[i] : (u32)i, NEG_INF});
    }
    best = block_best(best, room);
    if (threadIdx.x == 0) {
        a.parts[row * parts + blockIdx.x] = best;
        __threadfence();
        last = atomicAdd(a.arrived + row, 1) == (u32)parts - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    best = Best{NEG_INF, NONE, NEG_INF};
    for (int i = threadIdx.x; i < parts; i += THREADS) {
        volatile Best* part = a.parts + row * parts + i;
        best = better(best, Best{part->logit, part->id, part->second});
    }
    best = block_best(best, room);
    if (threadIdx.x == 0) {
        bool finite = best.logit > NEG_INF && best.logit < __int_as_float(0x7f800000);
        a.ids[row] = finite ? best.id : NONE;
        if (a.margins) a.margins[row] = best.logit - best.second;
        if (a.next) *a.next = finite ? best.id : 0;
        a.arrived[row] = 0;
        if (a.drafts) judge(a);
    }
}
