// Sums a value over a row, and finds the token at which a running sum by id passes a place. Three uses, by `mode`:
//
//   TIES    1 for each token of the cut's key: the id of the last one that is left (after sample_cut.cu)
//   TOTAL   weights at the temperature of the tokens that are left: their sum makes them probabilities
//   DRAW    probabilities: the token at quantile `draw` of them, and what becomes of a step's drafts
//
// Weights are exp((logit - greatest) / temperature), so top-p and min-p see the untempered distribution (min-p as a
// floor under logits: ln(min_p) below the greatest). With the rule REJECTION a row's draft d stands with probability
// min(1, p(d) / q(d)), and where it falls the draw is from max(p - q, 0) (Leviathan et al. 2023, algorithm 1); with
// COMPARE it stands if it is the token drawn. The verdict is {accepted, next}: drafts before the first that falls, and
// the token drawn from its row, or from the last row where all stand; next is NONE where nothing can be drawn there.
//
// A drafter's own row (`told`, grid.y 1) has no verdict: its token is the draft and what the drafter goes on with, and its
// probabilities stay, as the q that the draft will be tested with.
//
// grid (parts, rows); block 256, at most 256 parts. Blocks own runs of ids. `arrived` and `rows_done` are 0 before and
// after.

#include "attention_common.cuh"
#include "sampling.cuh"

enum Mode { TIES = 0, TOTAL = 1, DRAW = 2 };
enum Rule { COMPARE = 0, REJECTION = 1 };

struct SampleFindArgs {
    const float* logits; // [rows][n]
    const u32* best; // ids of the greatest; NONE: nothing can be drawn
    SampledRow* rows;
    const float* q; // [rows - 1][n], of rows that have one
    u64* parts; // [rows][2][gridDim.x]
    u32* arrived; // [rows]
    u32* rows_done;
    u32* verdict; // {accepted, next}
    float* told; // [n]: the probabilities drawn from; or absent
    u32* drawn; // with `told`: the token; NONE where nothing can be drawn
    u32* onwards; // with `told`: the token again, 0 for NONE
    i64 stride;
    int n;
    int mode, rule;
    float temperature;
    float min_p_floor; // added to the greatest logit
};

// What the tokens of a row are looked at with.
struct View {
    const float* logits;
    const float* q; // absent where the draft's is a point mass
    float max, floor, scale;
    u32 cut_key, cut_id, draft;
    bool rejects; // whether the row's draw is from what a rejected draft leaves
};

DEVICE float weight_of(const SampleFindArgs& a, const View& v, u32 id) {
    float x = v.logits[id];
    if (!is_left(x, id, v.cut_key, v.cut_id) || !(x >= v.floor)) return 0;
    return weight(__fdiv_rn(__fsub_rn(x, v.max), a.temperature));
}

DEVICE float probability(const SampleFindArgs& a, const View& v, u32 id) {
    return __fmul_rn(weight_of(a, v, id), v.scale);
}

// The value that is summed; `plain` asks for the probability where the draw would be from a residual.
DEVICE u64 value_of(const SampleFindArgs& a, const View& v, u32 id, bool plain) {
    if (a.mode == TIES) {
        float x = v.logits[id];
        return key_of(x) == v.cut_key && is_left(x, id, v.cut_key, v.cut_id);
    }
    if (a.mode == TOTAL) return mass(weight_of(a, v, id));
    float p = probability(a, v, id);
    if (plain || !v.rejects) return mass(p);
    return v.q ? mass(fmaxf(__fsub_rn(p, v.q[id]), 0.0f)) : id == v.draft ? 0 : mass(p);
}

DEVICE u64 block_total(u64 value, u64* room) {
    sums_up_to_here(value, room);
    u64 total = room[THREADS - 1];
    __syncthreads();
    return total;
}

// The id at which the running sum passes `target`, which is below the sum of all: first the part, then the thread's run
// of ids in it, then the id.
DEVICE void find(const SampleFindArgs& a, const View& v, u64 own_part, u64 target, bool plain, u64* room, u64* found) {
    sums_up_to_here(own_part, room);
    if (target < room[threadIdx.x] && target >= room[threadIdx.x] - own_part) {
        found[0] = threadIdx.x;
        found[1] = target - (room[threadIdx.x] - own_part);
    }
    __syncthreads();
    int width = (a.n + gridDim.x - 1) / gridDim.x, run = (width + THREADS - 1) / THREADS;
    int part_end = min(a.n, ((int)found[0] + 1) * width);
    int first = (int)found[0] * width + threadIdx.x * run, end = min(part_end, first + run);
    u64 within = found[1], own = 0;
    for (int i = first; i < end; ++i) own += value_of(a, v, i, plain);
    __syncthreads();
    sums_up_to_here(own, room);
    u64 before = room[threadIdx.x] - own;
    if (before <= within && within < room[threadIdx.x]) {
        int i = first;
        for (;; ++i) {
            u64 value = value_of(a, v, i, plain);
            if (within < before + value) break;
            before += value;
        }
        found[0] = (u32)i;
    }
    __syncthreads();
}

// By the thread that finishes the last row.
DEVICE void judge(const SampleFindArgs& a, u32 drafts) {
    u32 accepted = 0;
    for (; accepted < drafts; ++accepted) {
        const SampledRow* row = a.rows + accepted;
        bool stands = a.rule == REJECTION ? __ldcg(&row->stands) : __ldcg(&row->choice) == row->draft;
        if (!stands) break;
    }
    a.verdict[0] = accepted;
    a.verdict[1] = __ldcg(&a.rows[accepted].choice);
}

DEVICE void finish(const SampleFindArgs& a, SampledRow* row, u32 choice, bool stands) {
    if (a.told) {
        *a.drawn = choice;
        *a.onwards = choice == NONE ? 0 : choice;
        return;
    }
    row->choice = choice;
    row->stands = stands;
    __threadfence();
    if (atomicAdd(a.rows_done, 1) != gridDim.y - 1) return;
    *a.rows_done = 0;
    __threadfence();
    judge(a, gridDim.y - 1);
}

extern "C" __global__ void __launch_bounds__(THREADS) sample_find(const __grid_constant__ SampleFindArgs a) {
    __shared__ struct { u64 sums[THREADS], found[2]; bool is_last; } room;
    u64 *sums = room.sums, *found = room.found;
    release_next();
    await_previous();
    u32 best = a.best[blockIdx.y];
    SampledRow* row = a.rows + blockIdx.y;
    u64 left = row->left;
    if (a.mode == TIES && left == 0) return;
    if (best == NONE) {
        if (a.mode == DRAW && blockIdx.x == 0 && threadIdx.x == 0) finish(a, row, NONE, false);
        return;
    }
    View v;
    v.logits = a.logits + blockIdx.y * a.stride;
    v.max = v.logits[best];
    v.floor = __fadd_rn(v.max, a.min_p_floor);
    v.scale = row->scale;
    v.cut_key = row->cut_key;
    v.cut_id = row->cut_id;
    v.draft = row->draft;
    v.rejects = a.rule == REJECTION && v.draft != NONE;
    v.q = v.rejects && row->has_q ? a.q + blockIdx.y * a.stride : nullptr;
    u64 draw = row->draw, test = row->test;

    int width = (a.n + gridDim.x - 1) / gridDim.x, end = min(a.n, (int)(blockIdx.x + 1) * width);
    u64 value = 0, plain = 0;
    for (int i = blockIdx.x * width + threadIdx.x; i < end; i += THREADS) {
        value += value_of(a, v, i, false);
        if (v.q) plain += value_of(a, v, i, true);
        if (a.mode == DRAW && a.told) a.told[i] = probability(a, v, i);
    }
    u64* parts = a.parts + blockIdx.y * 2 * gridDim.x;
    value = block_total(value, sums);
    if (v.q) plain = block_total(plain, sums);
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = value;
        parts[gridDim.x + blockIdx.x] = plain;
    }
    if (!comes_last(a.arrived + blockIdx.y, gridDim.x, &room.is_last)) return;

    bool is_part = threadIdx.x < gridDim.x;
    u64 own = is_part ? __ldcg(parts + threadIdx.x) : 0, total = block_total(own, sums);
    if (a.mode == TIES) {
        find(a, v, own, left - 1, false, sums, found);
        if (threadIdx.x == 0) {
            row->cut_id = (u32)found[0];
            row->left = 0;
        }
        return;
    }
    if (a.mode == TOTAL) {
        double sum = __dmul_rn(__ull2double_rn(total), 1.0 / 17592186044416.0);
        if (threadIdx.x == 0) row->scale = __double2float_rn(__ddiv_rn(1.0, sum));
        return;
    }
    bool stands = false;
    if (v.rejects) {
        double q = v.q ? (double)v.q[v.draft] : 1.0, u = __dmul_rn(__ull2double_rn(test), 1.0 / 9007199254740992.0);
        stands = __dmul_rn(u, q) < (double)probability(a, v, v.draft);
    }
    bool from_p = v.q && total == 0;
    if (from_p) {
        // p and q differ by rounding alone: p is the residual's limit.
        own = is_part ? __ldcg(parts + gridDim.x + threadIdx.x) : 0;
        total = block_total(own, sums);
    }
    if (total > 0) find(a, v, own, __umul64hi(draw << 11, total), from_p, sums, found);
    if (threadIdx.x == 0) finish(a, row, total > 0 ? (u32)found[0] : NONE, stands);
}
