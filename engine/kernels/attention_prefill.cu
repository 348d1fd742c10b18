// Attention on tensor cores for many query columns that share a KV head: passes of more rows than a verify step has.
//
//   out[c] = sum_p softmax_p(scale * q[c] . k[p]) v[p],  p visible to column c (causal, optional window)
//
// grid  (splits, column tiles, kv_heads); block NW warps; dynamic shared memory as `attention::instances` computes it:
//   Q [RT][D] 16-bit | WD > 1: P [RT][KT] 16-bit, tops [WD][RT] f32 | ring of NS slots of SLOT bytes
// Defines: D head_dim, K_FORMAT, V_FORMAT, RT columns of a tile, KT keys of a tile, NW warps, WD of them
// side by side, NS slots, SLOT bytes of one, BLOCKS per SM, SHARED_BYTES.
//
// The queries of a tile stay; keys and values stream past them in slots: KC dimensions of all KT keys of a tile, then VC
// keys by VD dimensions of its values, so that 512 dimensions need no more than 99 KB. A warp has RT * WD / NW columns;
// the WD warps that share columns split a tile's keys for S = Q K^T and the output's dimensions for O += P V, and hand
// P over in shared memory. With WD = 1, P never leaves its registers.
// Weights are taken against a reference, the greatest score when last looked at, and O is only rescaled once a score
// exceeds it by 2^LAG: every weight keeps its relative rounding, and a tile needs one vote instead of a maximum agreed
// on beforehand. Tiles of columns start with the last, whose causal part is longest; tiles of keys that no column sees
// are not gone through. Chunks of 16 bytes are swizzled by row, so that ldmatrix meets no bank twice.
// Versions, TFLOP/s on an H200, bf16, head_dim 512, ratio 4, 16,384 rows: 116 before (attention_mma.cu); 142 with 16 warps;
// 159 with 3 slots of 8 KiB (99 KB), 155 with 12 of them; 192 with 8 of 16 KiB, 219 with 4 of 32: likely it is the barrier of each slot.
// Serves every row of the path `mma-prefill`. mma.sync m16n8k16 only: sm_80 and later. Partial results per split,
// joined by attention_combine.cu.

#include "attention_common.cuh"
#include "tensor_cores.cuh"
#include "attention_codes.cuh"

constexpr int THREADS = NW * 32;
constexpr bool BFLOAT = K_FORMAT == BF16;
constexpr int WM = NW / WD;                // groups of warps, each with its own columns
constexpr int MT = RT / WM / 16;           // m16 tiles of columns, a warp
constexpr int NT = KT / WD / 8;            // n8 tiles of keys, a warp
constexpr int KC = SLOT / 2 / KT;          // dimensions of a slot of keys
constexpr int VD = SLOT / 32 < D ? SLOT / 32 : D; // dimensions of a slot of values
constexpr int VC = SLOT / 2 / VD;          // keys of a slot of values
constexpr int PARTS = D / VD;              // slots of values by dimension
constexpr int WIDTH = VD / WD;             // dimensions of a slot of values, a warp
constexpr int SLOTS_OF_KEYS = D / KC, SLOTS_OF_VALUES = KT / VC * PARTS, SLOTS_OF_TILE = SLOTS_OF_KEYS + SLOTS_OF_VALUES;
constexpr int P_BYTES = WD > 1 ? RT * KT * 2 : 0, TOP_BYTES = WD > 1 ? WD * RT * 4 : 0;
constexpr bool COPIED = K_FORMAT <= BF16 && V_FORMAT <= BF16; // slots are copies of what is stored; else decoded
constexpr int ITEMS = COPIED ? 1 : SLOT / 32 / THREADS; // parts of 16 dimensions of a slot, a thread
constexpr float LAG = 8;                   // powers of two that a score may exceed the reference by

static_assert(K_FORMAT == V_FORMAT || (K_FORMAT != BF16 && V_FORMAT != BF16), "bf16 has no mixed pairs");
static_assert(D % 128 == 0 || !(is_turbo(K_FORMAT) || is_turbo(V_FORMAT)), "whole groups");
static_assert(COPIED || (SLOT % (32 * THREADS) == 0 && SLOTS_OF_KEYS % 2 == 0 && SLOTS_OF_VALUES % 2 == 0), "decoding");
static_assert(NW % WD == 0 && RT % (16 * WM) == 0 && KT % 64 == 0 && NT % 2 == 0, "tiling");
static_assert(KC % 64 == 0 && D % KC == 0 && VC % 16 == 0 && KT % VC == 0 && VD % 64 == 0 && WIDTH % 16 == 0, "slots");
static_assert(RT * D * 2 + P_BYTES + TOP_BYTES + NS * SLOT == SHARED_BYTES, "the row's shared memory");
static_assert(PARTS <= 2, "slots of values are the first or the last part");
static_assert(NS >= 2, "one slot is read while another is filled");

// Byte offset of a 16-byte chunk of a row; rows are whole multiples of 128 bytes.
DEVICE int swizzled(int row, int chunk, int row_bytes) { return row * row_bytes + ((chunk ^ (row & 7)) << 4); }

// ROWS rows from position `first`, `WIDE` dimensions from `from_dim` of each, into a slot; rows outside
// [seen_from, end) become zeros.
template <int ROWS, int WIDE>
DEVICE void fetch(u32 slot, const u8* head, int first, int from_dim, int seen_from, int end, int cells) {
    constexpr int CHUNKS = WIDE / 8, COPIES = ROWS * CHUNKS / THREADS;
    static_assert(ROWS * CHUNKS % THREADS == 0, "every thread copies alike");
    int cell = first < cells ? first : first % cells;
    #pragma unroll
    for (int j = 0; j < COPIES; ++j) {
        int i = threadIdx.x + j * THREADS, row = i / CHUNKS, chunk = i % CHUNKS, at = cell + row;
        at = at >= cells ? at - cells : at;
        bool exists = first + row >= seen_from && first + row < end;
        copy_async(slot + swizzled(row, chunk, WIDE * 2),
            head + (exists ? (i64)at * (2 * D) + 2 * from_dim + chunk * 16 : 0), exists);
    }
}

// Codes of 16 dimensions of a row on their way to a slot, a thread.
struct Raw { u32 words[8], third, scale; };

// What `fetch` would copy, in registers.
template <int FORMAT, int ROWS, int WIDE>
DEVICE void load(Raw (&raw)[ITEMS], const u8* head, int first, int from_dim, int seen_from, int end, int cells) {
    constexpr int PER_ROW = WIDE / 16, WORDS = FORMAT == F16 ? 8 : FORMAT == Q8_0 ? 4 : FORMAT == TURBO4 ? 2 : 1;
    int cell = first < cells ? first : first % cells;
    #pragma unroll
    for (int j = 0; j < ITEMS; ++j) {
        int i = threadIdx.x + j * THREADS, row = i / PER_ROW, d = from_dim + i % PER_ROW * 16, at = cell + row;
        at = at >= cells ? at - cells : at;
        #pragma unroll
        for (int k = 0; k < WORDS; ++k) raw[j].words[k] = 0;
        raw[j].third = raw[j].scale = 0;
        if (first + row < seen_from || first + row >= end) continue;
        const u8* from = head + (i64)at * row_bytes(FORMAT, D);
        const u8* codes = from + WORDS * 4 * (d / 16);
        if constexpr (WORDS >= 4) {
            #pragma unroll
            for (int k = 0; k < WORDS; k += 4) {
                uint4 x = *reinterpret_cast<const uint4*>(codes + 4 * k);
                raw[j].words[k] = x.x, raw[j].words[k + 1] = x.y, raw[j].words[k + 2] = x.z, raw[j].words[k + 3] = x.w;
            }
        } else if constexpr (WORDS == 2) {
            uint2 x = *reinterpret_cast<const uint2*>(codes);
            raw[j].words[0] = x.x, raw[j].words[1] = x.y;
        } else {
            raw[j].words[0] = word(codes);
        }
        if constexpr (FORMAT == TURBO3) raw[j].third = word(from + code_bytes(TURBO3, D) + d / 32 * 4);
        if constexpr (FORMAT >= Q8_0) raw[j].scale = half_word(from + scale_offset(FORMAT, D) + 2 * (FORMAT == Q8_0 ? d / 32 : d / 128));
    }
}

// Dimensions 8 * half to 8 * half + 7 of 16.
template <int FORMAT> DEVICE uint4 decode(const Raw& raw, int half, int place, const u32 (&table)[4]) {
    if constexpr (FORMAT == F16) {
        return make_uint4(raw.words[4 * half], raw.words[4 * half + 1], raw.words[4 * half + 2], raw.words[4 * half + 3]);
    } else {
        u32 x[4], scale = raw.scale * 0x10001u, codes = 0;
        if constexpr (is_turbo(FORMAT))
            codes = nibbles<FORMAT>(raw.words[FORMAT == TURBO4 ? half : 0], raw.third, 2 * half, place % 2 * 2 + half);
        #pragma unroll
        for (int i = 0; i < 2; ++i) {
            if constexpr (FORMAT == Q8_0) {
                u32 biased = raw.words[2 * half + i] ^ 0x80808080u;
                x[2 * i] = codes_to_halves(biased, 0x4140), x[2 * i + 1] = codes_to_halves(biased, 0x4342);
            } else {
                u32 low, high;
                look_up<FORMAT>(low, high, codes >> 16 * i, table);
                x[2 * i] = permute(low, high, 0x5140), x[2 * i + 1] = permute(low, high, 0x7362);
            }
        }
        return make_uint4(mul2(x[0], scale), mul2(x[1], scale), mul2(x[2], scale), mul2(x[3], scale));
    }
}

// What was loaded, into a slot as f16.
template <int FORMAT, int WIDE> DEVICE void store(u8* slot, const Raw (&raw)[ITEMS], const u32 (&table)[4]) {
    constexpr int PER_ROW = WIDE / 16;
    #pragma unroll
    for (int j = 0; j < ITEMS; ++j) {
        int i = threadIdx.x + j * THREADS, row = i / PER_ROW, place = i % PER_ROW;
        #pragma unroll
        for (int half = 0; half < 2; ++half)
            *reinterpret_cast<uint4*>(slot + swizzled(row, 2 * place + half, WIDE * 2)) = decode<FORMAT>(raw[j], half, place, table);
    }
}

// As below, rotated like the keys: a warp turns 128 dimensions at a time.
DEVICE void store_rotated_queries(u8* to, const AttentionArgs& a, int tile) {
    constexpr int GROUPS = D / 128 + (D < 128); // none is rotated where there is none
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    #pragma unroll 2
    for (int i = warp; i < RT * GROUPS; i += NW) {
        int row = i / GROUPS, d = i % GROUPS * 128 + 4 * lane, place = place_of(a, tile * RT + row);
        float x[4] = {0, 0, 0, 0};
        if (place >= 0) { // the same for the whole warp
            float4 q = *reinterpret_cast<const float4*>(a.q + (i64)place * D + d);
            x[0] = q.x, x[1] = q.y, x[2] = q.z, x[3] = q.w;
            rotate(x, false);
        }
        *reinterpret_cast<uint2*>(to + swizzled(row, d / 8, D * 2) + d % 8 * 2) =
            make_uint2(pack<BFLOAT>(x[0], x[1]), pack<BFLOAT>(x[2], x[3]));
    }
}

DEVICE void store_queries(u8* to, const AttentionArgs& a, int tile) {
    constexpr int LANES = D / 8, BATCH = 4; // 8 dimensions a thread
    static_assert(RT * LANES % (THREADS * BATCH) == 0, "every thread stores alike");
    #pragma unroll 1
    for (int round = 0; round < RT * LANES / (THREADS * BATCH); ++round) {
        float4 x[BATCH][2];
        #pragma unroll
        for (int j = 0; j < BATCH; ++j) {
            int i = threadIdx.x + (round * BATCH + j) * THREADS, place = place_of(a, tile * RT + i / LANES);
            x[j][0] = x[j][1] = make_float4(0, 0, 0, 0);
            if (place < 0) continue;
            const float4* from = reinterpret_cast<const float4*>(a.q + (i64)place * D + i % LANES * 8);
            x[j][0] = from[0], x[j][1] = from[1];
        }
        #pragma unroll
        for (int j = 0; j < BATCH; ++j) {
            int i = threadIdx.x + (round * BATCH + j) * THREADS;
            *reinterpret_cast<uint4*>(to + swizzled(i / LANES, i % LANES, D * 2)) = make_uint4(
                pack<BFLOAT>(x[j][0].x, x[j][0].y), pack<BFLOAT>(x[j][0].z, x[j][0].w),
                pack<BFLOAT>(x[j][1].x, x[j][1].y), pack<BFLOAT>(x[j][1].z, x[j][1].w));
        }
    }
}

// What goes through a slot: keys from `first` on or values, from dimension `dim` on.
struct Part { bool keys; int first, dim; };
DEVICE Part part_of(int step, int begin) {
    int i = step % SLOTS_OF_TILE, first = begin + step / SLOTS_OF_TILE * KT, value = i - SLOTS_OF_KEYS;
    if (value < 0) return {true, first, i * KC};
    return {false, first + value / PARTS * VC, value % PARTS * VD};
}

// What a warp has, and the state of its columns.
struct Tile {
    int wm, wn, lane;
    float o[MT][PARTS][WIDTH / 8][4];
    float s[MT][NT][4];         // scores, then nothing
    u32 p[MT][NT][2];           // weights of two keys: columns g and g + 8
    float base[MT][2], sum[MT][2];
};

// s += the part of Q K^T that one slot of keys gives.
DEVICE void score(Tile& w, u32 q, u32 keys, int from_dim) {
    u32 q_row = q + (w.wm * MT * 16 + (w.lane & 15)) * (D * 2) + from_dim * 2;
    u32 k_row = keys + (w.wn * NT * 8 + (w.lane & 7) + (w.lane >> 4) * 8) * (KC * 2);
    u32 q_bits = ((w.lane >> 4) ^ (w.lane & 7)) << 4, k_bits = ((w.lane >> 3 & 1) ^ (w.lane & 7)) << 4;
    #pragma unroll(4)
    for (int step = 0; step < KC / 16; ++step) {
        u32 block = step / 4 * 128, turn = step % 4 << 5; // a swizzle repeats after 64 dimensions
        u32 a[MT][4];
        #pragma unroll
        for (int m = 0; m < MT; ++m) load_matrices(a[m], q_row + m * 16 * (D * 2) + block + (q_bits ^ turn));
        #pragma unroll
        for (int n = 0; n < NT; n += 2) {
            u32 b[4];
            load_matrices(b, k_row + n * 8 * (KC * 2) + block + (k_bits ^ turn));
            #pragma unroll
            for (int m = 0; m < MT; ++m) {
                mma<BFLOAT>(w.s[m][n], a[m], b[0], b[1]);
                mma<BFLOAT>(w.s[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// Scores in base 2, of keys that a column sees.
DEVICE void mask(Tile& w, const AttentionArgs& a, const Work& work, int tile, int first) {
    int g = w.lane >> 2, t = w.lane & 3;
    bool all_seen = first + KT <= work.end && first + KT - 1 <= work.first_pos + work.first_token
        && (a.window == 0 || first > work.first_pos + work.last_token - a.window);
    #pragma unroll
    for (int m = 0; m < MT; ++m)
        #pragma unroll
        for (int n = 0; n < NT; ++n)
            #pragma unroll
            for (int i = 0; i < 4; ++i) w.s[m][n][i] *= a.scale_log2;
    if (all_seen) return;
    #pragma unroll
    for (int m = 0; m < MT; ++m)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            // Surplus columns are never written, so they may see anything that exists.
            Row row = row_of(a, work, token_of(a, tile * RT + (w.wm * MT + m) * 16 + g + 8 * half));
            #pragma unroll
            for (int n = 0; n < NT; ++n)
                #pragma unroll
                for (int i = 0; i < 2; ++i) {
                    int key = first + (w.wn * NT + n) * 8 + 2 * t + i;
                    if (key >= work.end || !sees(a, row, key, work)) w.s[m][n][2 * half + i] = NEG_INF;
                }
        }
}

// The greatest of this warp's scores, by column, and whether one is too far above its reference.
DEVICE bool find_tops(const Tile& w, float (&top)[MT][2]) {
    bool exceeds = false;
    #pragma unroll
    for (int m = 0; m < MT; ++m)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            float& most = top[m][half];
            most = NEG_INF;
            #pragma unroll
            for (int n = 0; n < NT; ++n) most = fmaxf(most, fmaxf(w.s[m][n][2 * half], w.s[m][n][2 * half + 1]));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
            exceeds |= most > w.base[m][half] + LAG;
        }
    return exceeds;
}

// Weights of this warp's scores against the references, and their sums.
DEVICE void weigh(Tile& w, float (&sum)[MT][2]) {
    #pragma unroll
    for (int m = 0; m < MT; ++m)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            float base = w.base[m][half] == NEG_INF ? 0.0f : w.base[m][half];
            sum[m][half] = 0;
            #pragma unroll
            for (int n = 0; n < NT; ++n) {
                float p0 = fast_exp2(w.s[m][n][2 * half] - base), p1 = fast_exp2(w.s[m][n][2 * half + 1] - base);
                sum[m][half] += p0 + p1;
                w.p[m][n][half] = pack<BFLOAT>(p0, p1);
            }
        }
}

// New references, and everything so far against them.
DEVICE void rebase(Tile& w, const float (&top)[MT][2]) {
    #pragma unroll
    for (int m = 0; m < MT; ++m)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            float base = fmaxf(w.base[m][half], top[m][half]);
            float shrink = base == NEG_INF ? 1.0f : fast_exp2(w.base[m][half] - base);
            w.base[m][half] = base;
            w.sum[m][half] *= shrink;
            #pragma unroll
            for (int part = 0; part < PARTS; ++part)
                #pragma unroll
                for (int j = 0; j < WIDTH / 8; ++j)
                    w.o[m][part][j][2 * half] *= shrink, w.o[m][part][j][2 * half + 1] *= shrink;
        }
}

// This warp's weights, for the warps that share its columns.
DEVICE void store_weights(const Tile& w, u8* to) {
    int g = w.lane >> 2, t = w.lane & 3;
    #pragma unroll
    for (int m = 0; m < MT; ++m)
        #pragma unroll
        for (int half = 0; half < 2; ++half)
            #pragma unroll
            for (int n = 0; n < NT; ++n) {
                int row = (w.wm * MT + m) * 16 + g + 8 * half;
                *reinterpret_cast<u32*>(to + swizzled(row, w.wn * NT + n, KT * 2) + 4 * t) = w.p[m][n][half];
            }
}

// A value of each of this warp's columns, for the warps that share them: room [WD][RT].
DEVICE void share(const Tile& w, float* room, const float (&x)[MT][2]) {
    if (w.lane & 3) return;
    #pragma unroll
    for (int m = 0; m < MT; ++m)
        #pragma unroll
        for (int half = 0; half < 2; ++half) room[w.wn * RT + (w.wm * MT + m) * 16 + (w.lane >> 2) + 8 * half] = x[m][half];
}

// Turns a tile's scores into weights, told to the warps that share the columns. Waits for the next slot.
DEVICE void turn_into_weights(Tile& w, u8* weights, float* tops) {
    float top[MT][2], sum[MT][2];
    bool exceeds = find_tops(w, top);
    if constexpr (WD == 1) {
        if (__any_sync(~0u, exceeds)) rebase(w, top);
        weigh(w, sum);
        await_all_but<NS - 2>();
        __syncthreads();
    } else {
        weigh(w, sum);
        store_weights(w, weights);
        share(w, tops, top);
        await_all_but<NS - 2>();
        if (__syncthreads_or(exceeds)) { // seldom after the first tiles; the same for all warps
            #pragma unroll
            for (int m = 0; m < MT; ++m)
                #pragma unroll
                for (int half = 0; half < 2; ++half)
                    #pragma unroll
                    for (int i = 0; i < WD; ++i)
                        top[m][half] = fmaxf(top[m][half], tops[i * RT + (w.wm * MT + m) * 16 + (w.lane >> 2) + 8 * half]);
            rebase(w, top);
            weigh(w, sum);
            store_weights(w, weights);
            __syncthreads();
        }
    }
    #pragma unroll
    for (int m = 0; m < MT; ++m) w.sum[m][0] += sum[m][0], w.sum[m][1] += sum[m][1];
}

// o += P V of one slot of values: keys from `first_key` of the tile on, part `part` of the dimensions.
template <int PART> DEVICE void add_values(Tile& w, u32 weights, u32 values, int slot) {
    int first_key = slot / PARTS * VC;
    u32 bits = ((w.lane >> 4) ^ (w.lane & 7)) << 4;
    #pragma unroll
    for (int step = 0; step < VC / 16; ++step) {
        u32 a[MT][4];
        #pragma unroll
        for (int m = 0; m < MT; ++m) {
            if constexpr (WD > 1) {
                u32 row = weights + ((w.wm * MT + m) * 16 + (w.lane & 15)) * (KT * 2);
                int chunk = first_key / 8 + 2 * step;
                load_matrices(a[m], row + ((chunk ^ (w.lane >> 4) ^ (w.lane & 7)) << 4));
            } else {
                int n = first_key / 8 + 2 * step;
                a[m][0] = w.p[m][n][0], a[m][1] = w.p[m][n][1], a[m][2] = w.p[m][n + 1][0], a[m][3] = w.p[m][n + 1][1];
            }
        }
        u32 row = values + (step * 16 + (w.lane & 15)) * (VD * 2);
        #pragma unroll
        for (int j = 0; j < WIDTH / 8; j += 2) {
            u32 b[4], chunk = w.wn * (WIDTH / 8) + j;
            load_matrices_transposed(b, row + ((chunk << 4) ^ bits));
            #pragma unroll
            for (int m = 0; m < MT; ++m) {
                mma<BFLOAT>(w.o[m][PART][j], a[m], b[0], b[1]);
                mma<BFLOAT>(w.o[m][PART][j + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// Partial results: the sums of weights, which the warps that share columns have apart, and the output if there is any.
DEVICE void store_output(Tile& w, const AttentionArgs& a, int tile, bool any, float* room) {
    int g = w.lane >> 2, t = w.lane & 3;
    #pragma unroll
    for (int m = 0; m < MT; ++m)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            w.sum[m][half] += __shfl_xor_sync(~0u, w.sum[m][half], 1);
            w.sum[m][half] += __shfl_xor_sync(~0u, w.sum[m][half], 2);
        }
    if constexpr (WD > 1) {
        share(w, room, w.sum);
        __syncthreads();
    }
    i64 split_base = (i64)blockIdx.x * a.q_rows * a.kv_heads * a.ratio;
    #pragma unroll
    for (int m = 0; m < MT; ++m)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            int row = (w.wm * MT + m) * 16 + g + 8 * half, place = place_of(a, tile * RT + row);
            if (place < 0) continue;
            float total = WD > 1 ? 0 : w.sum[m][half];
            #pragma unroll
            for (int i = 0; i < (WD > 1 ? WD : 0); ++i) total += room[i * RT + row];
            if (w.wn == 0 && t == 0) a.part_stat[split_base + place] = make_float2(w.base[m][half], total);
            if (!any) continue; // combine skips what has no weight
            float* to = a.part_out + (split_base + place) * D + 2 * t;
            #pragma unroll
            for (int part = 0; part < PARTS; ++part)
                #pragma unroll
                for (int j = 0; j < WIDTH / 8; ++j)
                    *reinterpret_cast<float2*>(to + part * VD + w.wn * WIDTH + 8 * j) =
                        make_float2(w.o[m][part][j][2 * half], w.o[m][part][j][2 * half + 1]);
        }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) attention_prefill(const __grid_constant__ AttentionArgs a) {
    extern __shared__ __align__(128) u8 shared[];
    u8* weights = shared + RT * D * 2;
    float* tops = reinterpret_cast<float*>(weights + P_BYTES);
    u32 q = shared_address(shared), p = shared_address(weights), ring = shared_address(weights + P_BYTES + TOP_BYTES);
    Tile w;
    int warp = threadIdx.x >> 5;
    w.lane = threadIdx.x & 31, w.wm = warp / WD, w.wn = warp % WD;
    int tile = (int)gridDim.y - 1 - (int)blockIdx.y;

    release_next();
    await_previous();
    Work work = work_of_tile(a, tile, RT, KT);
    const u8* k_head = a.k + blockIdx.z * a.k_head_stride;
    const u8* v_head = a.v + blockIdx.z * a.v_head_stride;
    int tiles = work.end > work.begin ? (work.end - work.begin + KT - 1) / KT : 0;

    int next = 0, next_slot = 0, slot = 0;
    Raw raw[2][ITEMS];
    auto load_part = [&](int step, Raw (&to)[ITEMS]) {
        Part part = part_of(step, work.begin);
        if (step >= tiles * SLOTS_OF_TILE) return;
        if (part.keys) load<K_FORMAT, KT, KC>(to, k_head, part.first, part.dim, work.seen_from, work.end, a.cells);
        else load<V_FORMAT, VC, VD>(to, v_head, part.first, part.dim, work.seen_from, work.end, a.cells);
    };
    // Fills the next slot; `turn` is whether an odd number were filled before, a constant where registers depend on it.
    auto fetch_next = [&](int turn) {
        Part part = part_of(next, work.begin);
        if (next < tiles * SLOTS_OF_TILE) {
            if constexpr (COPIED) {
                u32 to = ring + next_slot * SLOT;
                if (part.keys) fetch<KT, KC>(to, k_head, part.first, part.dim, work.seen_from, work.end, a.cells);
                else fetch<VC, VD>(to, v_head, part.first, part.dim, work.seen_from, work.end, a.cells);
            } else {
                u8* to = shared + RT * D * 2 + P_BYTES + TOP_BYTES + next_slot * SLOT;
                if (part.keys) store<K_FORMAT, KC>(to, raw[turn], a.k_table);
                else store<V_FORMAT, VD>(to, raw[turn], a.v_table);
            }
        }
        if constexpr (!COPIED) load_part(next + 2, raw[turn]);
        commit();
        ++next, next_slot = next_slot + 1 == NS ? 0 : next_slot + 1;
    };
    auto filled = [&]() { // the slot to read now
        u32 at = ring + slot * SLOT;
        slot = slot + 1 == NS ? 0 : slot + 1;
        return at;
    };
    if constexpr (!COPIED) load_part(0, raw[0]), load_part(1, raw[1]);
    #pragma unroll
    for (int i = 0; i < NS - 1; ++i) fetch_next(i % 2);
    if (tiles > 0) {
        if constexpr (is_turbo(K_FORMAT)) store_rotated_queries(shared, a, tile);
        else store_queries(shared, a, tile);
    }

    #pragma unroll
    for (int m = 0; m < MT; ++m)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            w.base[m][half] = NEG_INF, w.sum[m][half] = 0;
            #pragma unroll
            for (int part = 0; part < PARTS; ++part)
                #pragma unroll
                for (int j = 0; j < WIDTH / 8; ++j) w.o[m][part][j][2 * half] = w.o[m][part][j][2 * half + 1] = 0;
        }

    #pragma unroll 1
    for (int first = work.begin; first < work.end; first += KT) {
        #pragma unroll
        for (int m = 0; m < MT; ++m)
            #pragma unroll
            for (int n = 0; n < NT; ++n)
                #pragma unroll
                for (int i = 0; i < 4; ++i) w.s[m][n][i] = 0;
        #pragma unroll(COPIED ? 1 : 2)
        for (int i = 0; i < SLOTS_OF_KEYS; ++i) {
            await_all_but<NS - 2>();
            __syncthreads(); // the slot is there; nobody reads the one to be filled, or weights, any more
            fetch_next((i + NS - 1) % 2);
            score(w, q, filled(), i * KC);
        }

        mask(w, a, work, tile, first);
        turn_into_weights(w, weights, tops);
        // Indices of registers have to be constants.
        #pragma unroll(PARTS == 1 && WD > 1 && COPIED ? 1 : SLOTS_OF_VALUES)
        for (int i = 0; i < SLOTS_OF_VALUES; ++i) {
            if (i > 0) {
                await_all_but<NS - 2>();
                __syncthreads();
            }
            fetch_next((i + NS - 1) % 2);
            u32 values = filled();
            if (i % PARTS == 0) add_values<0>(w, p, values, i);
            else add_values<PARTS - 1>(w, p, values, i);
        }
    }

    store_output(w, a, tile, tiles > 0, tops);
}
