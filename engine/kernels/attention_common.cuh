// What every attention kernel shares: launch arguments, the layout of cache rows, column and key ranges.
//
// Compiled by NVRTC, so nothing is included from the system. `attention::layout` is the same row layout in Rust, and
// `attention::launch::AttentionArgs` the same arguments.
//
// Vocabulary: a column is one (token, query head) pair; the `q_rows * ratio` columns of a KV head are ordered by
// token, then head. A key at position p lies in cell p % cells.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;

enum Format { F16 = 0, BF16 = 1, Q8_0 = 2, TURBO2 = 3, TURBO3 = 4, TURBO4 = 5, F32 = 6 };

struct AttentionArgs {
    const float* q;       // [q_rows][kv_heads * ratio][head_dim]
    const u8* k;          // [kv_heads][cells] rows of `row_bytes(k format)`
    const u8* v;          // the same for values
    float* part_out;      // [splits][q_rows * heads][out_dim], not divided by the sum of weights
    float2* part_stat;    // [splits][q_rows * heads]: greatest score (base 2), sum of weights
    const int* state;     // {kv_len: keys cached, first_pos: position of query row 0}, TREE: {depth, ancestors} of each row
    i64 k_head_stride;    // bytes between KV heads
    i64 v_head_stride;
    u32 k_table[4];       // f16 codebook of turbo keys: low bytes of 8 entries, then high bytes
    u32 v_table[4];
    int q_rows, ratio, kv_heads, cells;
    int window;           // positions a query sees, its own included; 0 for all
    int head_dim, k_format, v_format; // read by TILE only, the others know them when compiled
    float scale_log2;     // attention scale times log2(e)
    u32 ratio_inverse;    // ceil(2^32 / ratio), 0 for ratio 1
    int chunk;            // fewest keys of a split, whole tiles
};

#define DEVICE static __device__ __forceinline__
#define NEG_INF __int_as_float(0xff800000)

constexpr __host__ __device__ int round_up(int x, int to) { return (x + to - 1) / to * to; }
constexpr __host__ __device__ bool is_turbo(int format) { return format >= TURBO2 && format <= TURBO4; }

#ifdef TREE
constexpr bool IS_TREE = true;
#else
constexpr bool IS_TREE = false;
#endif

// Rows: 16-bit types as they are; q8_0 [codes, head_dim rounded up to 32][f16 scale per 32]; turbo
// [code words][high-bit words of turbo3][f16 norm per 128], head_dim rounded up to 128. All padded to 16 bytes.
constexpr __host__ __device__ int code_bytes(int format, int dim) {
    return format <= BF16 ? 2 * dim
        : format == Q8_0  ? round_up(dim, 32)
        : format == TURBO4 ? round_up(dim, 128) / 2 : round_up(dim, 128) / 4;
}
constexpr __host__ __device__ int scale_offset(int format, int dim) {
    return code_bytes(format, dim) + (format == TURBO3 ? round_up(dim, 128) / 8 : 0);
}
constexpr __host__ __device__ int row_bytes(int format, int dim) {
    return format == F32 ? 4 * dim : format <= BF16 ? 2 * dim
        : round_up(scale_offset(format, dim) + 2 * (format == Q8_0 ? (dim + 31) / 32 : (dim + 127) / 128), 16);
}
// Width of a partial result: whole groups where combine has to rotate them back.
constexpr __host__ __device__ int out_dim(int v_format, int dim) { return is_turbo(v_format) ? round_up(dim, 128) : dim; }

DEVICE float half_to_float(u32 bits) {
    float x;
    asm("{.reg .b16 h; cvt.u16.u32 h, %1; cvt.f32.f16 %0, h;}" : "=f"(x) : "r"(bits));
    return x;
}
DEVICE float fast_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
// The intrinsic for this drops the top bit of each selector nibble, which copies a byte's sign.
DEVICE u32 permute(u32 a, u32 b, u32 selector) {
    u32 r;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector));
    return r;
}

// Lets a kernel queued behind this one come in as soon as all blocks of this one run; it then waits for all that this
// one writes by itself (programmatic launch; both do nothing where the launch did not ask for it).
DEVICE void release_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}
DEVICE void await_previous() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// column / ratio: exact while column * ratio < 2^32, which the shape guarantees.
DEVICE int token_of(const AttentionArgs& a, int column) {
    return a.ratio_inverse ? (int)__umulhi((u32)column, a.ratio_inverse) : column;
}

// What one block has to do: its columns' tokens and its keys [begin, end), a part of what any of its columns sees.
struct Work {
    int first_token, last_token; // inclusive
    int first_pos, kv_end;       // position of query row 0; keys from here on do not exist
    int seen_from;               // keys before this are seen by no column
    int begin, end;
};

// Rows of a verify step, at most: up to these, splits do not depend on how many there are.
constexpr int VERIFY_ROWS = 8;

// Keys of a split. A function of the position and not of the number of rows, so that a token's attention is summed in
// the same order alone and in a verify step (`AttnPlan::chunk` says the same in Rust).
DEVICE int chunk_of(const AttentionArgs& a, int first_pos, int keys) {
    int rows = max(a.q_rows, VERIFY_ROWS), splits = gridDim.x;
    if (splits == 1) return 1 << 30;
    if (a.window > 0) return max(a.chunk, round_up((a.window + rows + splits - 2) / (splits - 1), keys));
    int reach = first_pos + 1, grain = max(256, (1 << (31 - __clz(reach))) >> 3);
    return max(a.chunk, round_up((round_up(reach, grain) + rows + splits - 1) / splits, keys));
}

DEVICE Work work_of_tile(const AttentionArgs& a, int tile, int columns, int keys) {
    Work w;
    w.first_token = token_of(a, tile * columns);
    w.last_token = min(a.q_rows - 1, token_of(a, tile * columns + columns - 1));
    w.kv_end = a.state[0];
    w.first_pos = a.state[1];
    int end = max(0, min(w.kv_end, w.first_pos + w.last_token + 1));
    // In a tree any row of the block may be at any depth.
    w.seen_from = min(end, a.window > 0 ? max(0, w.first_pos + (IS_TREE ? 0 : w.first_token) - a.window + 1) : 0);
    // Splits are whole chunks counted from position 0, and chunk c always is part c % splits of the result.
    int chunk = chunk_of(a, w.first_pos, keys), splits = gridDim.x, first = w.seen_from / chunk;
    i64 from = (i64)chunk * (first + ((int)blockIdx.x - first % splits + splits) % splits);
    w.begin = (int)min((i64)end, max((i64)(w.seen_from / keys * keys), from));
    w.end = (int)min((i64)end, from + chunk);
    return w;
}
DEVICE Work work_of(const AttentionArgs& a, int columns, int keys) { return work_of_tile(a, (int)blockIdx.y, columns, keys); }

// A query row: where it stands, and in a tree which of the newest cells it sees (bit j: that of row j).
struct Row { int pos; u32 ancestors; };

// Rows of a tree stand at first_pos + depth and lie in cell first_pos + their number (`attention::mask` has the formula).
DEVICE Row row_of(const AttentionArgs& a, const Work& w, int token) {
    if constexpr (!IS_TREE) return {w.first_pos + token, 0};
    token = min(token, a.q_rows - 1); // surplus columns
    int depth = a.state[2 + 2 * token];
    u32 ancestors = (u32)a.state[3 + 2 * token] & ((2u << token) - 1);
    if (a.window > 0 && depth >= a.window)
        #pragma unroll 1
        for (int j = 0; j < token; ++j)
            if (a.state[2 + 2 * j] <= depth - a.window) ancestors &= ~(1u << j);
    return {w.first_pos + depth, ancestors};
}

DEVICE bool sees(const AttentionArgs& a, const Row& row, int key, const Work& w) {
    if constexpr (IS_TREE)
        if (key >= w.first_pos) return key < w.end && (row.ancestors >> (key - w.first_pos) & 1);
    return key < w.kv_end && key <= row.pos && (a.window == 0 || key > row.pos - a.window);
}

// Index of a column in the partial results, or -1 for a surplus column.
DEVICE int place_of(const AttentionArgs& a, int column) {
    int token = token_of(a, column);
    return token < a.q_rows ? token * a.kv_heads * a.ratio + (int)blockIdx.z * a.ratio + column - token * a.ratio : -1;
}

// Signs of the turbo rotation y = s2 * (H (s1 * x)) / sqrt(128), bit i set = -1, H the natural-order Hadamard matrix.
static __device__ const u32 ROTATION_SIGNS[2][4] = {
    {0xe46a0359u, 0x42f85949u, 0xa4c63bbbu, 0x49f250a9u},
    {0x16acee90u, 0x3f628fdcu, 0xb7a5357au, 0xbea56562u},
};

// Rotates a group of 128, lane i holding elements 4i..4i+3; `inverse` undoes it.
DEVICE void rotate(float (&x)[4], bool inverse) {
    int lane = threadIdx.x & 31;
    u32 before = ROTATION_SIGNS[inverse][lane >> 3] >> (4 * (lane & 7));
    u32 after = ROTATION_SIGNS[!inverse][lane >> 3] >> (4 * (lane & 7));
    #pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = (before >> i & 1) ? -x[i] : x[i];
    float a = x[0] + x[1], b = x[0] - x[1], c = x[2] + x[3], d = x[2] - x[3];
    x[0] = a + c, x[1] = b + d, x[2] = a - c, x[3] = b - d;
    #pragma unroll
    for (int stride = 1; stride < 32; stride *= 2) {
        #pragma unroll
        for (int i = 0; i < 4; ++i) {
            float other = __shfl_xor_sync(~0u, x[i], stride);
            x[i] = (lane & stride) ? other - x[i] : x[i] + other;
        }
    }
    #pragma unroll
    for (int i = 0; i < 4; ++i) x[i] *= (after >> i & 1) ? -0.08838834764831845f : 0.08838834764831845f;
}
