// Attention on tensor cores for a few query columns that share a KV head: decode, verify, short prefill.
//
//   out[c] = sum_p softmax_p(scale * q[c] . k[p]) v[p],  p visible to column c (causal or TREE, optional window)
//
// grid  (splits, column tiles, kv_heads); block NW warps; dynamic shared memory as `attention::instances` computes it:
//   Q [RT][DP + 8] 16-bit | S [WK][RT][KT + 8] f32 | ring of NS slots, each KT rows of keys or of values as stored | 128
//   (read, never used, where head_dim ends inside a granule of 32)
// Defines: D head_dim, K_FORMAT, V_FORMAT, RT columns of a tile, KT keys of a tile, NW warps, NS slots, BLOCKS per SM,
// SHARED_BYTES.
//
// Keys and values go through the ring as stored bytes (cp.async, 16 bytes a lane) and are decoded in registers, each
// element once: a 16-bit type by ldmatrix, codes by PRMT over an 8-entry table. S = Q K^T is shared between warps by
// keys (WN), columns (WM) and dimension (WK); O += P V by dimension, so each warp repeats the softmax of the tile from
// shared memory. Two barriers a tile: one when its keys are there, one when its values and all of S are.
// Turbo: q is rotated in the prologue, norms scale S (keys) and P (values), the output is rotated back by combine.
//
// Versions, us on an H200 for head_dim 512, 1 KV head x 8, one row, 32k, with combine (bf16 / turbo3):
//   41.1 / 42.5  4 warps, queries fetched one by one, combine branching before each load
//   27.7 / 27.6  8 warps or 64 keys, queries fetched in batches, combine with 16 shares and weights in shared memory
//   27.3 / 24.1  no 64-bit division, one L1 division for all kernels, next kernel released at the start
//   25.8 / 25.0  combine with its loads in batches, ahead of the weights; turbo two blocks a multiprocessor
// Profile: turbo issues in 42 to 49 % of the cycles, so latency of decoding bounds it; bf16 reaches 79 % of the read
// ceiling at 128k.
// Serves every row of the paths `mma` and `mma-turbo`. mma.sync m16n8k16 only: sm_80 and later. Partial results per split, joined by attention_combine.cu.

#include "attention_common.cuh"
#include "tensor_cores.cuh"
#include "attention_codes.cuh"

constexpr int THREADS = NW * 32;
constexpr int DP = is_turbo(K_FORMAT) || is_turbo(V_FORMAT) ? round_up(D, 128) : round_up(D, D <= 64 || D == 192 ? 64 : 128);
constexpr int MT = RT / 16;                       // m16 tiles of columns
constexpr int N_TILES = KT / 8;                   // n8 tiles of keys
constexpr int WN = N_TILES < NW ? N_TILES : NW;   // warps along keys
constexpr int NPW = N_TILES / WN;                 // n8 tiles of keys a warp
constexpr int WM = NW / WN < MT ? NW / WN : MT;   // warps along columns
constexpr int MTW = MT / WM;
constexpr int WK = NW / (WN * WM);                // warps along head_dim
constexpr int GRANULES = DP / 32 / NW;            // of 32 output dimensions, a warp
constexpr int OUT_DIM = out_dim(V_FORMAT, D);
constexpr int Q_STRIDE = DP + 8;                  // elements
constexpr int S_STRIDE = KT + 8;

constexpr __device__ int odd(int chunks) { return chunks | 1; }
// 16-byte chunks between rows, so that no access pattern below meets a bank twice: odd for ldmatrix and for values,
// 2 mod 4 for the keys' 8-byte code loads.
constexpr __device__ int k_chunks() {
    int c = row_bytes(K_FORMAT, D) / 16;
    return K_FORMAT <= BF16 ? odd(c) : c + (6 - c % 4) % 4;
}
constexpr int K_STRIDE = 16 * k_chunks();
constexpr int V_STRIDE = 16 * odd(row_bytes(V_FORMAT, D) / 16);
constexpr int SLOT = KT * (K_STRIDE > V_STRIDE ? K_STRIDE : V_STRIDE);

// Codes of a key that one thread of a quad decodes in one go, and the part of head_dim the quad then has.
constexpr int K_CODES = K_FORMAT == Q8_0 ? 8 : 32;
constexpr int K_CHUNK = K_FORMAT > BF16 ? 4 * K_CODES : D % 32 == 0 ? 32 : 16;
constexpr int K_STEPS = K_CHUNK / 16;
constexpr int CHUNK_UNROLL = K_CHUNK >= 128 ? 2 : 128 / K_CHUNK;
constexpr int K_CHUNKS = is_turbo(K_FORMAT) ? DP / 128 : round_up(D, K_CHUNK) / K_CHUNK;

static_assert(RT % 16 == 0 && KT % 16 == 0 && MT % WM == 0 && N_TILES % WN == 0 && NW % (WN * WM) == 0, "tiling");
static_assert(DP % (32 * NW) == 0, "warps share the output dimensions in granules of 32");
static_assert(K_CHUNKS % WK == 0, "warps share head_dim in whole chunks");
static_assert(RT * Q_STRIDE * 2 + WK * RT * S_STRIDE * 4 + NS * SLOT + 128 == SHARED_BYTES, "the row's shared memory");
static_assert(NS >= 2, "one slot is read while another is filled");

// ---- keys: B fragments (b0, b1 per k16 step) of 8 keys times one chunk of head_dim --------------------------------

struct KeyFragment { u32 b[K_STEPS][2]; };

DEVICE void load_keys(KeyFragment& f, const u8* tile, int first_key, int chunk, const u32 (&table)[4]) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    if constexpr (K_FORMAT <= BF16 && K_STEPS == 2) {
        u32 r[4];
        load_matrices(r, shared_address(tile + (first_key + (lane & 7)) * K_STRIDE + chunk * 64 + (lane >> 3) * 16));
        f.b[0][0] = r[0], f.b[0][1] = r[1], f.b[1][0] = r[2], f.b[1][1] = r[3];
    } else if constexpr (K_FORMAT <= BF16) {
        load_matrix_pair(f.b[0], shared_address(tile + (first_key + (lane & 7)) * K_STRIDE + chunk * 32 + (lane & 8) * 2));
    } else if constexpr (K_FORMAT == Q8_0) {
        const u8* row = tile + (first_key + g) * K_STRIDE;
        uint2 codes = *reinterpret_cast<const uint2*>(row + 32 * chunk + 8 * t);
        u32 scale = half_word(row + scale_offset(Q8_0, D) + 2 * chunk) * 0x10001u;
        #pragma unroll
        for (int s = 0; s < 2; ++s) {
            u32 biased = (s ? codes.y : codes.x) ^ 0x80808080u;
            f.b[s][0] = mul2(codes_to_halves(biased, 0x4140), scale);
            f.b[s][1] = mul2(codes_to_halves(biased, 0x4342), scale);
        }
    } else {
        const u8* row = tile + (first_key + g) * K_STRIDE;
        u32 words[4], high_bits = 0;
        if constexpr (K_FORMAT == TURBO4) {
            #pragma unroll
            for (int i = 0; i < 2; ++i) {
                uint2 w = *reinterpret_cast<const uint2*>(row + 64 * chunk + 16 * t + 8 * i);
                words[2 * i] = w.x, words[2 * i + 1] = w.y;
            }
        } else {
            uint2 w = *reinterpret_cast<const uint2*>(row + 32 * chunk + 8 * t);
            words[0] = words[1] = w.x, words[2] = words[3] = w.y;
            if constexpr (K_FORMAT == TURBO3) high_bits = word(row + code_bytes(TURBO3, D) + 16 * chunk + 4 * t);
        }
        #pragma unroll
        for (int k = 0; k < 4; ++k) {
            u32 codes = nibbles<K_FORMAT>(words[k], high_bits, 2 * (k & 1), k);
            #pragma unroll
            for (int half = 0; half < 2; ++half) {
                u32 low, high;
                look_up<K_FORMAT>(low, high, codes >> 16 * half, table);
                f.b[2 * k + half][0] = permute(low, high, 0x5140);
                f.b[2 * k + half][1] = permute(low, high, 0x7362);
            }
        }
    }
}

// Where dimension d of a query lies in shared memory, so that ldmatrix meets the order in which keys are decoded.
DEVICE int q_position(int d) {
    if constexpr (K_FORMAT <= BF16) return d;
    int owner = d % K_CHUNK / K_CODES, step = d % K_CODES / 4, i = d % 4;
    return d / K_CHUNK * K_CHUNK + 16 * step + 2 * owner + (i & 1) + 4 * (i & 2);
}

// ---- values: B fragments of 16 keys times a granule of 32 dimensions, as 4 n8 tiles ------------------------------
// n8 tile j of a granule holds at column n: dimension 8j + n (16-bit types), 4n + j (q8_0), and for turbo
// 16n + (4 * granule + j) % 16 of its group of 128.

struct ValueFragment { u32 b[4][2]; };

// Pairs bytes of two keys: (a, b) of dimension 0 and 1, or of 2 and 3.
DEVICE u32 pair01(u32 a, u32 b) { return permute(a, b, 0x5140); }
DEVICE u32 pair23(u32 a, u32 b) { return permute(a, b, 0x7362); }

DEVICE void load_values(ValueFragment& f, const u8* tile, int first_key, int granule, const u32 (&table)[4]) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    if constexpr (V_FORMAT <= BF16) {
        #pragma unroll
        for (int i = 0; i < 2; ++i) {
            u32 r[4];
            load_matrices_transposed(r, shared_address(tile + (first_key + (lane & 15)) * V_STRIDE
                + granule * 64 + i * 32 + (lane >> 4) * 16));
            f.b[2 * i][0] = r[0], f.b[2 * i][1] = r[1], f.b[2 * i + 1][0] = r[2], f.b[2 * i + 1][1] = r[3];
        }
    } else
    #pragma unroll
    for (int half = 0; half < 2; ++half) { // keys 2t, 2t + 1, then 2t + 8, 2t + 9
        const u8* row = tile + (first_key + 2 * t + 8 * half) * V_STRIDE;
        if constexpr (V_FORMAT == Q8_0) {
            u32 a = word(row + 32 * granule + 4 * g) ^ 0x80808080u;
            u32 b = word(row + V_STRIDE + 32 * granule + 4 * g) ^ 0x80808080u;
            f.b[0][half] = codes_to_halves(pair01(a, b), 0x4140);
            f.b[1][half] = codes_to_halves(pair01(a, b), 0x4342);
            f.b[2][half] = codes_to_halves(pair23(a, b), 0x4140);
            f.b[3][half] = codes_to_halves(pair23(a, b), 0x4342);
        } else if constexpr (is_turbo(V_FORMAT)) {
            int group = granule / 4, k = granule / 2 & 1, shift = 16 * (granule & 1);
            u32 low[2], high[2];
            #pragma unroll
            for (int key = 0; key < 2; ++key) {
                const u8* r = row + key * V_STRIDE;
                u32 codes;
                if constexpr (V_FORMAT == TURBO4) {
                    codes = word(r + 64 * group + 8 * g + 4 * k);
                } else {
                    u32 third = 0;
                    if constexpr (V_FORMAT == TURBO3) third = word(r + code_bytes(TURBO3, D) + 16 * group + (g & 6) * 2);
                    codes = nibbles<V_FORMAT>(word(r + 32 * group + 4 * g), third, 2 * k, 2 * (g & 1) + k);
                }
                look_up<V_FORMAT>(low[key], high[key], codes >> shift, table);
            }
            u32 low01 = pair01(low[0], low[1]), high01 = pair01(high[0], high[1]);
            u32 low23 = pair23(low[0], low[1]), high23 = pair23(high[0], high[1]);
            f.b[0][half] = permute(low01, high01, 0x5140);
            f.b[1][half] = permute(low01, high01, 0x7362);
            f.b[2][half] = permute(low23, high23, 0x5140);
            f.b[3][half] = permute(low23, high23, 0x7362);
        }
    }
}

// Scales of the values of keys (2t, 2t + 1) and (2t + 8, 2t + 9) in a granule, as two f16 pairs.
DEVICE void load_value_scales(u32 (&scale)[2], const u8* tile, int first_key, int granule) {
    int t = threadIdx.x & 3, index = V_FORMAT == Q8_0 ? granule : granule / 4;
    #pragma unroll
    for (int half = 0; half < 2; ++half) {
        const u8* p = tile + (first_key + 2 * t + 8 * half) * V_STRIDE + scale_offset(V_FORMAT, D) + 2 * index;
        scale[half] = half_word(p) | half_word(p + V_STRIDE) << 16;
    }
}

// ---- the kernel's stages -------------------------------------------------------------------------------------------

// KT rows of keys or values, from position `first`, into a slot; rows outside [seen_from, end) become zeros.
template <int FORMAT, int STRIDE>
DEVICE void fetch(u8* slot, const u8* head, int first, int seen_from, int end, int cells) {
    constexpr int CHUNKS = row_bytes(FORMAT, D) / 16;
    constexpr int COPIES = (KT * CHUNKS + THREADS - 1) / THREADS;
    int cell = first < cells ? first : first % cells; // the plan gives a ring as many cells as a tile has keys
    #pragma unroll(COPIES <= 16 ? COPIES : 8)
    for (int j = 0; j < COPIES; ++j) {
        int i = threadIdx.x + j * THREADS;
        if (KT * CHUNKS % THREADS != 0 && i >= KT * CHUNKS) break;
        int row = i / CHUNKS, chunk = i % CHUNKS, at = cell + row;
        at = at >= cells ? at - cells : at;
        bool exists = first + row >= seen_from && first + row < end;
        copy_async(shared_address(slot + row * STRIDE + chunk * 16),
            head + (exists ? (i64)at * row_bytes(FORMAT, D) + chunk * 16 : 0), exists);
    }
}

// All columns, rotated where keys are; a few parts of 128 dimensions a warp are in flight together.
DEVICE void store_queries(u16* q_shared, const AttentionArgs& a) {
    constexpr bool BFLOAT = K_FORMAT == BF16;
    constexpr int PARTS = (DP + 127) / 128, BATCH = 4, ROUNDS = (RT * PARTS + NW * BATCH - 1) / (NW * BATCH);
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    #pragma unroll 2
    for (int round = 0; round < ROUNDS; ++round) {
        float x[BATCH][4] = {};
        bool there[BATCH];
        #pragma unroll
        for (int j = 0; j < BATCH; ++j) {
            int i = (round * BATCH + j) * NW + warp, column = i / PARTS, d = i % PARTS * 128 + 4 * lane;
            int place = i < RT * PARTS ? place_of(a, (int)blockIdx.y * RT + column) : -1;
            there[j] = place >= 0; // the same for the whole warp
            if (place >= 0 && d < D) {
                float4 q = *reinterpret_cast<const float4*>(a.q + (i64)place * D + d);
                x[j][0] = q.x, x[j][1] = q.y, x[j][2] = q.z, x[j][3] = q.w;
            }
        }
        #pragma unroll
        for (int j = 0; j < BATCH; ++j) {
            int i = (round * BATCH + j) * NW + warp, column = i / PARTS, d = i % PARTS * 128 + 4 * lane;
            if (i >= RT * PARTS) break;
            if constexpr (is_turbo(K_FORMAT)) if (there[j]) rotate(x[j], false);
            if (d < DP) {
                u32* to = reinterpret_cast<u32*>(q_shared + column * Q_STRIDE);
                to[q_position(d) / 2] = pack<BFLOAT>(x[j][0], x[j][1]);
                to[q_position(d + 2) / 2] = pack<BFLOAT>(x[j][2], x[j][3]);
            }
        }
    }
}

// This warp's part of S = Q K^T of one tile, to shared memory.
DEVICE void score(float* s_shared, const u16* q_shared, const u8* tile, const u32 (&table)[4]) {
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    int wn = warp % WN, wm = warp / WN % WM, wk = warp / (WN * WM);
    // A lone accumulator would wait for itself: two take turns.
    constexpr int TURNS = NPW * MTW == 1 ? 2 : 1;
    float s[TURNS][NPW][MTW][4] = {};
    u32 q_base = shared_address(q_shared + (wm * MTW * 16 + (lane & 15)) * Q_STRIDE + (lane >> 4) * 8);
    #pragma unroll(CHUNK_UNROLL)
    for (int c = 0; c < K_CHUNKS / WK; ++c) {
        int chunk = wk * (K_CHUNKS / WK) + c;
        KeyFragment keys[NPW];
        #pragma unroll
        for (int n = 0; n < NPW; ++n) load_keys(keys[n], tile, (wn * NPW + n) * 8, chunk, table);
        float part[TURNS][NPW][MTW][4] = {};
        #pragma unroll
        for (int step = 0; step < K_STEPS; ++step) {
            #pragma unroll
            for (int m = 0; m < MTW; ++m) {
                u32 q[4];
                load_matrices(q, q_base + (m * 16 * Q_STRIDE + chunk * K_CHUNK + step * 16) * 2);
                #pragma unroll
                for (int n = 0; n < NPW; ++n) {
                    constexpr bool OWN = is_turbo(K_FORMAT);
                    float (&to)[4] = OWN ? part[step % TURNS][n][m] : s[step % TURNS][n][m];
                    mma<K_FORMAT == BF16>(to, q, keys[n].b[step][0], keys[n].b[step][1]);
                }
            }
        }
        if constexpr (is_turbo(K_FORMAT)) {
            #pragma unroll
            for (int n = 0; n < NPW; ++n) {
                const u8* norm = tile + ((wn * NPW + n) * 8 + 2 * t) * K_STRIDE + scale_offset(K_FORMAT, D) + 2 * chunk;
                float norm0 = half_to_float(half_word(norm)), norm1 = half_to_float(half_word(norm + K_STRIDE));
                #pragma unroll
                for (int m = 0; m < MTW; ++m)
                    #pragma unroll
                    for (int i = 0; i < 4; ++i)
                        #pragma unroll
                        for (int turn = 0; turn < TURNS; ++turn)
                            s[turn][n][m][i] += part[turn][n][m][i] * (i & 1 ? norm1 : norm0);
            }
        }
    }
    #pragma unroll
    for (int n = 0; n < NPW; ++n)
        #pragma unroll
        for (int m = 0; m < MTW; ++m)
            #pragma unroll
            for (int half = 0; half < 2; ++half) {
                float* to = s_shared + (wk * RT + (wm * MTW + m) * 16 + g + 8 * half) * S_STRIDE + (wn * NPW + n) * 8 + 2 * t;
                float2 sum = make_float2(0, 0);
                #pragma unroll
                for (int turn = 0; turn < TURNS; ++turn)
                    sum.x += s[turn][n][m][2 * half], sum.y += s[turn][n][m][2 * half + 1];
                *reinterpret_cast<float2*>(to) = sum;
            }
}

// The halves of two weights that are not 0, as masks: bit 15 of each half is spread over it.
DEVICE u32 weighted(u32 p) { return permute((p & 0x7fff7fffu) + 0x7fff7fffu, 0, 0xbb99); }

// Takes values that are no finite numbers out of a fragment, and makes NaN of the outputs that give them a weight, and of
// no others: 0 times NaN would be NaN, and a sibling's overflow is none of a row's business.
template <bool BFLOAT> DEVICE void keep_to_seen(float (&o)[MT][GRANULES * 4][4], int tile, const u32 (&p)[MT][4], u32 (&b)[2]) {
    constexpr u32 EXPONENTS = BFLOAT ? 0x7f807f80u : 0x7c007c00u, ONES = BFLOAT ? 0x3f803f80u : 0x3c003c00u;
    // The lowest bit of an exponent that is all ones carries into bit 15.
    u32 strange0 = permute((b[0] & EXPONENTS) + (EXPONENTS & ~(EXPONENTS << 1)), 0, 0xbb99);
    u32 strange1 = permute((b[1] & EXPONENTS) + (EXPONENTS & ~(EXPONENTS << 1)), 0, 0xbb99);
    if (!__any_sync(~0u, strange0 | strange1)) return;
    b[0] &= ~strange0, b[1] &= ~strange1;
    #pragma unroll
    for (int m = 0; m < MT; ++m) {
        u32 given[4];
        #pragma unroll
        for (int i = 0; i < 4; ++i) given[i] = weighted(p[m][i]) & ONES;
        float count[4] = {};
        mma<BFLOAT>(count, given, strange0 & ONES, strange1 & ONES);
        #pragma unroll
        for (int i = 0; i < 4; ++i) if (count[i] > 0) o[m][tile][i] = __int_as_float(0x7fffffff);
    }
}

// The scores of one column and 2 adjacent keys, in base 2.
DEVICE float2 read_scores(const float* s_shared, int column, int key, float scale_log2) {
    float2 sum = make_float2(0, 0);
    #pragma unroll
    for (int k = 0; k < WK; ++k) {
        float2 part = *reinterpret_cast<const float2*>(s_shared + (k * RT + column) * S_STRIDE + key);
        sum.x += part.x, sum.y += part.y;
    }
    return make_float2(sum.x * scale_log2, sum.y * scale_log2);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) attention_mma(const __grid_constant__ AttentionArgs a) {
    extern __shared__ __align__(128) u8 shared[];
    u16* q_shared = reinterpret_cast<u16*>(shared);
    float* s_shared = reinterpret_cast<float*>(shared + RT * Q_STRIDE * 2);
    u8* ring = shared + RT * Q_STRIDE * 2 + WK * RT * S_STRIDE * 4;
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    constexpr bool BFLOAT = V_FORMAT == BF16;

    release_next();
    await_previous();
    Work w = work_of(a, RT, KT);
    i64 split_base = (i64)blockIdx.x * a.q_rows * a.kv_heads * a.ratio;
    const u8* k_head = a.k + blockIdx.z * a.k_head_stride;
    const u8* v_head = a.v + blockIdx.z * a.v_head_stride;
    int steps = 2 * ((w.end - w.begin + KT - 1) / KT); // keys, values, keys, ...
    if (w.end <= w.begin) steps = 0;

    auto fetch_step = [&](int step) {
        int first = w.begin + step / 2 * KT;
        u8* slot = ring + step % NS * SLOT;
        if (step < steps) {
            if (step % 2 == 0) fetch<K_FORMAT, K_STRIDE>(slot, k_head, first, w.seen_from, w.end, a.cells);
            else fetch<V_FORMAT, V_STRIDE>(slot, v_head, first, w.seen_from, w.end, a.cells);
        }
        commit();
    };
    for (int step = 0; step < NS - 1; ++step) fetch_step(step);
    if (steps > 0) store_queries(q_shared, a);

    float o[MT][GRANULES * 4][4] = {};
    float greatest[MT][2], sum[MT][2] = {};
    Row row[MT][2];
    #pragma unroll
    for (int m = 0; m < MT; ++m)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            greatest[m][half] = NEG_INF;
            row[m][half] = row_of(a, w, token_of(a, (int)blockIdx.y * RT + m * 16 + g + 8 * half));
        }

    for (int step = 0; step < steps; step += 2) {
        await_all_but<NS - 2>();
        __syncthreads(); // the keys are there; nobody reads S or the slot to be filled any more
        fetch_step(step + NS - 1);
        score(s_shared, q_shared, ring + step % NS * SLOT, a.k_table);

        await_all_but<NS - 2>();
        __syncthreads(); // the values are there, and all of S
        fetch_step(step + NS);
        const u8* values = ring + (step + 1) % NS * SLOT;
        int first = w.begin + step / 2 * KT;
        bool all_seen = first + KT <= w.end && first + KT - 1 <= w.first_pos + (IS_TREE ? -1 : w.first_token)
            && (a.window == 0 || first > w.first_pos + w.last_token - a.window);
        u32 p[KT / 16][MT][4]; // A fragments: row g or g + 8 (bit 0), keys 2t or 2t + 8 (bit 1)
        #pragma unroll
        for (int m = 0; m < MT; ++m)
            #pragma unroll
            for (int half = 0; half < 2; ++half) {
                float2 s[KT / 8];
                float top = greatest[m][half];
                #pragma unroll
                for (int i = 0; i < KT / 8; ++i) {
                    s[i] = read_scores(s_shared, m * 16 + g + 8 * half, 8 * i + 2 * t, a.scale_log2);
                }
                if (!all_seen) { // surplus columns are never written, so they may see anything that exists
                    // Of many columns the bits would not fit the registers between the tiles.
                    if constexpr (IS_TREE && MT > 2) row[m][half] = row_of(a, w, token_of(a, (int)blockIdx.y * RT + m * 16 + g + 8 * half));
                    #pragma unroll
                    for (int i = 0; i < KT / 8; ++i) {
                        int key = first + 8 * i + 2 * t;
                        if (key >= w.end || !sees(a, row[m][half], key, w)) s[i].x = NEG_INF;
                        if (key + 1 >= w.end || !sees(a, row[m][half], key + 1, w)) s[i].y = NEG_INF;
                    }
                }
                #pragma unroll
                for (int i = 0; i < KT / 8; ++i) top = fmaxf(top, fmaxf(s[i].x, s[i].y));
                top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
                top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
                float base = top == NEG_INF ? 0.0f : top;
                float shrink = fast_exp2(greatest[m][half] - base);
                greatest[m][half] = top;
                if (__any_sync(~0u, shrink != 1.0f)) {
                    sum[m][half] *= shrink;
                    #pragma unroll
                    for (int n = 0; n < GRANULES * 4; ++n) o[m][n][2 * half] *= shrink, o[m][n][2 * half + 1] *= shrink;
                }
                #pragma unroll
                for (int i = 0; i < KT / 8; ++i) {
                    float p0 = fast_exp2(s[i].x - base), p1 = fast_exp2(s[i].y - base);
                    sum[m][half] += p0 + p1;
                    p[i / 2][m][half + 2 * (i % 2)] = pack<BFLOAT>(p0, p1);
                }
            }
        #pragma unroll
        for (int ks = 0; ks < KT / 16; ++ks) {
            #pragma unroll
            for (int q = 0; q < GRANULES; ++q) {
                int granule = warp * GRANULES + q;
                if (granule * 32 >= (is_turbo(V_FORMAT) ? DP : D)) continue;
                ValueFragment f;
                load_values(f, values, ks * 16, granule, a.v_table);
                u32 scale[2];
                if constexpr (V_FORMAT >= Q8_0) load_value_scales(scale, values, ks * 16, granule);
                if constexpr (IS_TREE && V_FORMAT <= BF16)
                    if (!all_seen) {
                        #pragma unroll
                        for (int j = 0; j < 4; ++j) keep_to_seen<BFLOAT>(o, q * 4 + j, p[ks], f.b[j]);
                    }
                #pragma unroll
                for (int m = 0; m < MT; ++m) {
                    u32 scaled[4];
                    #pragma unroll
                    for (int i = 0; i < 4; ++i) scaled[i] = V_FORMAT >= Q8_0 ? mul2(p[ks][m][i], scale[i >> 1]) : p[ks][m][i];
                    if constexpr (IS_TREE && V_FORMAT >= Q8_0)
                        if (!all_seen) {
                            #pragma unroll
                            for (int i = 0; i < 4; ++i) scaled[i] &= weighted(p[ks][m][i]);
                        }
                    #pragma unroll
                    for (int j = 0; j < 4; ++j) mma<BFLOAT>(o[m][q * 4 + j], scaled, f.b[j][0], f.b[j][1]);
                }
            }
        }
    }

    #pragma unroll
    for (int m = 0; m < MT; ++m)
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            int place = place_of(a, (int)blockIdx.y * RT + m * 16 + g + 8 * half);
            float total = sum[m][half];
            total += __shfl_xor_sync(~0u, total, 1);
            total += __shfl_xor_sync(~0u, total, 2);
            if (place < 0) continue;
            if (warp == 0 && t == 0) a.part_stat[split_base + place] = make_float2(greatest[m][half], total);
            if (steps == 0) continue; // combine skips what has no weight
            float* to = a.part_out + (split_base + place) * OUT_DIM;
            #pragma unroll
            for (int q = 0; q < GRANULES; ++q) {
                int granule = warp * GRANULES + q;
                float(*tile)[4] = &o[m][q * 4];
                if constexpr (V_FORMAT <= BF16) {
                    #pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        int d = 32 * granule + 8 * j + 2 * t;
                        if (d < D) *reinterpret_cast<float2*>(to + d) = make_float2(tile[j][2 * half], tile[j][2 * half + 1]);
                    }
                } else {
                    #pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        int n = 2 * t + i, e = 2 * half + i;
                        int d = V_FORMAT == Q8_0 ? 32 * granule + 4 * n : granule / 4 * 128 + 16 * n + granule % 4 * 4;
                        if (d < OUT_DIM) *reinterpret_cast<float4*>(to + d) = make_float4(tile[0][e], tile[1][e], tile[2][e], tile[3][e]);
                    }
                }
            }
        }
}
