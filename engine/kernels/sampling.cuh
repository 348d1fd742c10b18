// What the kernels that draw tokens share: the exact arithmetic of `spec::mass` and the rule for what is left of a row.
//
// Every operation that rounds is written as the one IEEE operation it is, so that the compiler joins none of them: a
// weight has the host's bits. Weights are summed as whole numbers, so that no order of summation can be seen either.
//
// Needs attention_common.cuh.

typedef unsigned long long u64;

constexpr u32 NONE = 0xffffffffu;
constexpr int THREADS = 256;

// One row of a step: written by the host before the first launch of the step, completed by the kernels.
struct SampledRow {
    u64 test; // uniform numbers times 2^53: of the draft's test,
    u64 draw; // and of the draw
    u64 left; // rank or mass still wanted among the keys below `prefix`; 0: nothing more is to be cut
    u32 draft; // token that stands or falls; NONE: the row has none
    u32 has_q; // whether there is a distribution that the draft was drawn from
    u32 cut_key; // what is left of the vocabulary: greater keys,
    u32 cut_id; // and of this key the ids up to this one
    u32 prefix; // leading digits of the key that is looked for
    float scale; // 1 / sum of the weights
    u32 choice; // token drawn; NONE where that is impossible
    u32 stands; // whether the draft was accepted
};

// exp(x) for x <= 0.
DEVICE float weight(float x) {
    double v = (double)fmaxf(x, -150.0f);
    double shifted = __dadd_rn(__dmul_rn(v, 1.4426950408889634), 6755399441055744.0);
    double r = __dsub_rn(v, __dmul_rn(__dsub_rn(shifted, 6755399441055744.0), 0.6931471805599453));
    double p = 1.0 / 40320.0;
    p = __dadd_rn(__dmul_rn(p, r), 1.0 / 5040.0);
    p = __dadd_rn(__dmul_rn(p, r), 1.0 / 720.0);
    p = __dadd_rn(__dmul_rn(p, r), 1.0 / 120.0);
    p = __dadd_rn(__dmul_rn(p, r), 1.0 / 24.0);
    p = __dadd_rn(__dmul_rn(p, r), 1.0 / 6.0);
    p = __dadd_rn(__dmul_rn(p, r), 0.5);
    p = __dadd_rn(__dmul_rn(p, r), 1.0);
    p = __dadd_rn(__dmul_rn(p, r), 1.0);
    double power = __longlong_as_double((i64)(((u64)__double_as_longlong(shifted) << 52) + 0x3ff0000000000000ull));
    return __double2float_rn(__dmul_rn(p, power));
}

// Weight or probability, 0 to 1, as a whole number of 2^-44.
DEVICE u64 mass(float w) {
    return (u64)__double_as_longlong(__dadd_rn((double)w, 256.0)) - 0x4070000000000000ull;
}

// A number whose order is that of the logits; both zeros are one.
DEVICE u32 key_of(float logit) {
    u32 bits = __float_as_uint(__fadd_rn(logit, 0.0f));
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

DEVICE float logit_of(u32 key) { return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

// Whether the cuts so far leave a token. A logit of -inf was suppressed and is never left.
DEVICE bool is_left(float logit, u32 id, u32 cut_key, u32 cut_id) {
    u32 key = key_of(logit);
    return logit > NEG_INF && (key > cut_key || (key == cut_key && id <= cut_id));
}

// Sum of the values of the threads from this one on, in `room[threadIdx.x]`, which holds one for each.
DEVICE void sums_from_here(u64 value, u64* room) {
    room[threadIdx.x] = value;
    __syncthreads();
    for (int step = 1; step < THREADS; step *= 2) {
        u64 more = threadIdx.x + step < THREADS ? room[threadIdx.x + step] : 0;
        __syncthreads();
        room[threadIdx.x] += more;
        __syncthreads();
    }
}

// Sum of the values of the threads up to this one.
DEVICE void sums_up_to_here(u64 value, u64* room) {
    room[threadIdx.x] = value;
    __syncthreads();
    for (int step = 1; step < THREADS; step *= 2) {
        u64 more = threadIdx.x >= step ? room[threadIdx.x - step] : 0;
        __syncthreads();
        room[threadIdx.x] += more;
        __syncthreads();
    }
}

// Whether this block is the last of `blocks` to get here; the others' writes are then seen. `arrived` is 0 before and
// after.
DEVICE bool comes_last(u32* arrived, u32 blocks, bool* room) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        *room = atomicAdd(arrived, 1) == blocks - 1;
        if (*room) *arrived = 0;
    }
    __syncthreads();
    if (*room) __threadfence();
    return *room;
}
