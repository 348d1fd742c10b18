// Attention without tensor cores for every head_dim that is a multiple of 8 up to 576, every ratio, every pair of KV
// types, every number of query rows: what the plan ends in when nothing else fits. One binary serves all of it.
//
//   out[c] = sum_p softmax_p(scale * q[c] . k[p]) v[p],  p visible to column c (causal or TREE, optional window)
//
// grid (splits, tiles of 8 columns, kv_heads); block 128; static shared memory 41.3 KB, so no opt-in is needed:
//   q [8][640] f32 | kv [8][640] f32, one tile of keys, then of values, decoded | p [8][8] f32
// Serves the row of the path `tile`. Kept simple; its speed was not measured. All arithmetic in f32. Thread i owns output dimensions i, i + 128, ... of all 8 columns.

#include "attention_common.cuh"

constexpr int COLUMNS = 8, KEYS = 8, MAX_DIM = 640, THREADS = 128, OWNED = MAX_DIM / THREADS;

// An entry of a codebook given as low and high bytes.
DEVICE float codebook(const u32 (&table)[4], int index) {
    u32 shift = 8 * (index & 3), half = index >> 2 & 1;
    u32 low = (half ? table[1] : table[0]) >> shift & 255, high = (half ? table[3] : table[2]) >> shift & 255;
    return half_to_float(low | high << 8);
}

// Element d of a row; turbo stays rotated.
DEVICE float element(int format, const u8* row, int dim, int d, const u32 (&table)[4]) {
    const u16* halves = reinterpret_cast<const u16*>(row);
    if (format == F32) return reinterpret_cast<const float*>(row)[d];
    if (format == F16) return half_to_float(halves[d]);
    if (format == BF16) return __int_as_float((u32)halves[d] << 16);
    const u16* scales = reinterpret_cast<const u16*>(row + scale_offset(format, dim));
    if (format == Q8_0) return half_to_float(scales[d / 32]) * (float)(signed char)row[d];
    // Code 8k + n of a block of 32 is nibble n of word k, or 2 of its bits where two k share a word.
    const u32* words = reinterpret_cast<const u32*>(row);
    int block = d / 32, k = d % 32 / 8, n = d % 8;
    float norm = half_to_float(scales[d / 128]);
    if (format == TURBO4) {
        u32 code = words[4 * block + k] >> 4 * n;
        float magnitude = codebook(table, code & 7);
        return norm * (code & 8 ? -magnitude : magnitude);
    }
    u32 code = words[2 * block + k / 2] >> (4 * n + 2 * (k & 1)) & 3;
    if (format == TURBO3) {
        u32 third = *reinterpret_cast<const u32*>(row + code_bytes(TURBO3, dim) + 4 * block);
        code |= (third >> (4 * n + k) & 1) << 2;
    }
    return norm * codebook(table, code);
}

DEVICE void decode_tile(float (&to)[KEYS][MAX_DIM], int format, const u8* head, int width, const Work& w, int first,
        const AttentionArgs& a, const u32 (&table)[4]) {
    int bytes = row_bytes(format, a.head_dim);
    for (int i = threadIdx.x; i < KEYS * width; i += THREADS) {
        int row = i / width, d = i % width;
        // A dimension that a padded row does not hold, or a key that does not exist, is 0 whatever memory says.
        bool exists = first + row >= w.seen_from && first + row < w.end && (is_turbo(format) || d < a.head_dim);
        to[row][d] = exists ? element(format, head + (i64)((first + row) % a.cells) * bytes, a.head_dim, d, table) : 0;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 3) attention_tile(const __grid_constant__ AttentionArgs a) {
    __shared__ float q[COLUMNS][MAX_DIM], kv[KEYS][MAX_DIM], p[COLUMNS][KEYS];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    release_next();
    await_previous();
    Work w = work_of(a, COLUMNS, KEYS);
    int k_width = is_turbo(a.k_format) ? round_up(a.head_dim, 128) : a.head_dim;
    int v_width = out_dim(a.v_format, a.head_dim);
    const u8* k_head = a.k + blockIdx.z * a.k_head_stride;
    const u8* v_head = a.v + blockIdx.z * a.v_head_stride;

    for (int i = warp; i < COLUMNS * (MAX_DIM / 128); i += THREADS / 32) {
        int column = i % COLUMNS, d = i / COLUMNS * 128 + 4 * lane, place = place_of(a, (int)blockIdx.y * COLUMNS + column);
        float x[4];
        #pragma unroll
        for (int j = 0; j < 4; ++j)
            x[j] = place >= 0 && d + j < a.head_dim ? a.q[(i64)place * a.head_dim + d + j] : 0;
        if (is_turbo(a.k_format)) rotate(x, false);
        #pragma unroll
        for (int j = 0; j < 4; ++j) q[column][d + j] = x[j];
    }

    float o[COLUMNS][OWNED] = {}, top[COLUMNS], sum[COLUMNS] = {};
    #pragma unroll
    for (int c = 0; c < COLUMNS; ++c) top[c] = NEG_INF;
    for (int first = w.begin; first < w.end; first += KEYS) {
        __syncthreads();
        decode_tile(kv, a.k_format, k_head, k_width, w, first, a, a.k_table);
        __syncthreads();
        for (int pair = warp; pair < COLUMNS * KEYS; pair += THREADS / 32) {
            int c = pair / KEYS, key = pair % KEYS;
            float s = 0;
            for (int d = lane; d < k_width; d += 32) s += q[c][d] * kv[key][d];
            #pragma unroll
            for (int i = 16; i > 0; i /= 2) s += __shfl_xor_sync(~0u, s, i);
            Row row = row_of(a, w, token_of(a, (int)blockIdx.y * COLUMNS + c));
            bool seen = first + key < w.end && sees(a, row, first + key, w);
            if (lane == 0) p[c][key] = seen ? s * a.scale_log2 : NEG_INF;
        }
        __syncthreads();
        decode_tile(kv, a.v_format, v_head, v_width, w, first, a, a.v_table);
        __syncthreads();
        #pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
            float greatest = top[c];
            for (int key = 0; key < KEYS; ++key) greatest = fmaxf(greatest, p[c][key]);
            float base = greatest == NEG_INF ? 0 : greatest, shrink = fast_exp2(top[c] - base);
            top[c] = greatest;
            sum[c] *= shrink;
            #pragma unroll
            for (int i = 0; i < OWNED; ++i) o[c][i] *= shrink;
            #pragma unroll 1
            for (int key = 0; key < KEYS; ++key) {
                if constexpr (IS_TREE) if (p[c][key] == NEG_INF) continue; // a sibling's NaN times 0 would be NaN
                float weight = fast_exp2(p[c][key] - base);
                sum[c] += weight;
                #pragma unroll
                for (int i = 0; i < OWNED; ++i)
                    if ((int)threadIdx.x + i * THREADS < v_width) o[c][i] += weight * kv[key][threadIdx.x + i * THREADS];
            }
        }
    }

    i64 split_base = (i64)blockIdx.x * a.q_rows * a.kv_heads * a.ratio;
    #pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
        int place = place_of(a, (int)blockIdx.y * COLUMNS + c);
        if (place < 0) continue;
        if (threadIdx.x == 0) a.part_stat[split_base + place] = make_float2(top[c], sum[c]);
        #pragma unroll
        for (int i = 0; i < OWNED; ++i) {
            int d = threadIdx.x + i * THREADS;
            if (d < v_width) a.part_out[(split_base + place) * v_width + d] = o[c][i];
        }
    }
}
