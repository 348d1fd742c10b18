// out[r][i] = sum_k W[i][k] x[r][k] for many rows of activations: prefill.
//
// A block has 128 rows of W by 64 rows of activations, its eight warps 32 by 32 each. Groups of columns of both come
// through shared memory, some of them on their way while one is worked on. Tensor cores as in matmul_small.cu; a warp
// goes through all columns, so sums differ from there in their order only.
//
// Compiled with -DTYPE=ggml's number. Grid (tiles of 64 activation rows, tiles of 128 rows of W), so that blocks that
// run together share weights in L2; block 256; dynamic shared memory `sizeof(Stage) * STAGES`.

#include "matmul_common.cuh"

constexpr int W = TYPE, COLUMNS = group_columns(TYPE), STAGES = is_float(W) ? 2 : 3, THREADS = 256;
constexpr int ROW_WARPS = 4, COLUMN_WARPS = 2, ROW_TILES = 2, COLUMN_TILES = 4;
constexpr int X_ROWS = 8 * COLUMN_TILES * COLUMN_WARPS, W_TILES = ROW_TILES * ROW_WARPS;
// Bytes of a row of activations in shared memory and of the way to the next: lanes g apart fall into other banks.
constexpr int ROW_BYTES = is_float(W) ? 4 * COLUMNS : COLUMNS, PITCH = ROW_BYTES + (is_float(W) ? 64 : 32);
constexpr int SUPERS = 8 * super_bytes(W);

struct Stage {
    alignas(16) u8 weights[W_TILES][group_bytes(W)];
    alignas(16) u8 supers[W_TILES][64];
    alignas(16) u8 rows[X_ROWS * PITCH];
    float scales[4][X_ROWS], sums[4][X_ROWS];
};

// Copies in the background; zeros where there is nothing.
template <int BYTES> DEVICE void copy(void* to, const void* from, bool there) {
    u32 place = (u32)__cvta_generic_to_shared(to), bytes = there ? BYTES : 0;
    if (BYTES == 16) asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(bytes));
    else asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(place), "l"(from), "r"(bytes));
}

// A warp copies the group of one of the block's tiles; a tile beyond the last is read as the last, and not written.
DEVICE void fetch_weights(Stage& to, const ProductArgs& a, int group) {
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, tile = min((int)blockIdx.y * W_TILES + warp, (a.rows + 15) / 16 - 1);
    const u8* from = a.groups_at + ((i64)tile * a.groups + group) * group_bytes(W);
    #pragma unroll
    for (int i = lane; i < group_bytes(W) / 16; i += 32) copy<16>(to.weights[warp] + 16 * i, from + 16 * i, true);
    if (16 * lane < SUPERS) {
        i64 at = ((i64)tile * ((a.groups + 1) / 2) + group / 2) * SUPERS + 16 * lane;
        copy<16>(to.supers[warp] + 16 * lane, a.supers_at + at, true);
    }
}

DEVICE void fetch_rows(Stage& to, const ProductArgs& a, int group) {
    constexpr int PARTS = ROW_BYTES / 16, PART_COLUMNS = COLUMNS / PARTS;
    int first = blockIdx.x * X_ROWS;
    #pragma unroll
    for (int i = threadIdx.x; i < X_ROWS * PARTS; i += THREADS) {
        int row = i / PARTS, part = i % PARTS, k = group * COLUMNS + part * PART_COLUMNS;
        bool there = first + row < a.m && k < a.stride;
        i64 at = there ? (first + row) * a.stride + k : 0;
        copy<16>(to.rows + row * PITCH + 16 * part, is_float(W) ? (const void*)(a.values + at) : (const void*)(a.codes + at), there);
    }
    if (!is_float(W)) {
        int j = threadIdx.x % 4, row = threadIdx.x / 4, block = 4 * group + j, blocks = (int)(a.stride / 32);
        bool there = first + row < a.m && block < blocks;
        i64 at = there ? (i64)(first + row) * blocks + block : 0;
        copy<4>(&to.scales[j][row], a.scales + at, there);
        if (has_minimum(W)) copy<4>(&to.sums[j][row], a.sums + at, there);
    }
}

// Adds a group: the warp's tiles from `tile` of the block on by its 32 activation rows from `first` on.
DEVICE void add_group(float (&acc)[ROW_TILES][COLUMN_TILES][4], const Stage& x, int tile, int first, int lane) {
    int g = lane / 4, t = lane % 4;
    Group<W> weights[ROW_TILES];
    #pragma unroll
    for (int r = 0; r < ROW_TILES; ++r) read_group<W>(weights[r], x.weights[tile + r], x.supers[tile + r], lane);
    if constexpr (is_float(W)) {
        // The tensor cores cut sums off; adding up groups outside of them keeps that small.
        float part[ROW_TILES][COLUMN_TILES][4] = {};
        #pragma unroll
        for (int s = 0; s < COLUMNS / 16; ++s) {
            float w[ROW_TILES][2][4];
            #pragma unroll
            for (int r = 0; r < ROW_TILES; ++r) floats_of<W>(w[r], weights[r], s);
            #pragma unroll
            for (int c = 0; c < COLUMN_TILES; ++c) {
                float4 v = *reinterpret_cast<const float4*>(x.rows + (first + 8 * c + g) * PITCH + 64 * s + 16 * t);
                #pragma unroll
                for (int r = 0; r < ROW_TILES; ++r) add_step<W>(part[r][c], w[r], v);
            }
        }
        #pragma unroll
        for (int r = 0; r < ROW_TILES; ++r)
            #pragma unroll
            for (int c = 0; c < COLUMN_TILES; ++c)
                #pragma unroll
                for (int i = 0; i < 4; ++i) acc[r][c][i] += part[r][c][i];
    } else {
        Scales s[ROW_TILES];
        #pragma unroll
        for (int r = 0; r < ROW_TILES; ++r) {
            s[r] = scales_of<W>(weights[r]);
            #pragma unroll
            for (int c = 0; c < COLUMN_TILES; ++c) add_offsets<W>(acc[r][c], s[r], x.sums[t][first + 8 * c + g]);
        }
        #pragma unroll
        for (int j = 0; j < 4; ++j) {
            u32 w[ROW_TILES][4];
            #pragma unroll
            for (int r = 0; r < ROW_TILES; ++r) codes_of<W>(w[r], weights[r], j);
            #pragma unroll
            for (int c = 0; c < COLUMN_TILES; ++c) {
                const u8* row = x.rows + (first + 8 * c + g) * PITCH + 32 * j;
                u32 b0 = *reinterpret_cast<const u32*>(row + column_of<W>(0, t)), b1 = *reinterpret_cast<const u32*>(row + column_of<W>(1, t));
                int z[2][4];
                zero_points<W>(z, b0, b1);
                float2 scale = *reinterpret_cast<const float2*>(&x.scales[j][first + 8 * c + 2 * t]);
                #pragma unroll
                for (int r = 0; r < ROW_TILES; ++r) add_block<W>(acc[r][c], w[r], s[r], j, lane, b0, b1, z, scale);
            }
        }
    }
}

// Two blocks where shared memory has room for them and unpacking for their registers.
#if __CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900
constexpr int BLOCKS = is_float(W) || has_fifth_bits(W) || W == W_Q6_K ? 1 : 2;
#else
constexpr int BLOCKS = 1;
#endif

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) matmul_tiled(const __grid_constant__ ProductArgs a) {
    extern __shared__ Stage stages[];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, first = warp / ROW_WARPS * 8 * COLUMN_TILES, tile = warp % ROW_WARPS * ROW_TILES;
    float acc[ROW_TILES][COLUMN_TILES][4] = {};
    #pragma unroll
    for (int s = 0; s < STAGES - 1; ++s)
        if (s < a.groups) fetch_weights(stages[s], a, s);
    release_next();
    await_previous();
    #pragma unroll
    for (int s = 0; s < STAGES - 1; ++s) {
        if (s < a.groups) fetch_rows(stages[s], a, s);
        asm volatile("cp.async.commit_group;");
    }
    for (int group = 0; group < a.groups; ++group) {
        asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
        __syncthreads();
        int later = group + STAGES - 1;
        if (later < a.groups) {
            fetch_weights(stages[later % STAGES], a, later);
            fetch_rows(stages[later % STAGES], a, later);
        }
        asm volatile("cp.async.commit_group;");
        add_group(acc, stages[group % STAGES], tile, first, lane);
    }
    #pragma unroll
    for (int r = 0; r < ROW_TILES; ++r)
        #pragma unroll
        for (int c = 0; c < COLUMN_TILES; ++c)
            #pragma unroll
            for (int i = 0; i < 4; ++i) {
                int row = 16 * ((int)blockIdx.y * W_TILES + tile + r) + lane / 4 + 8 * (i / 2);
                int x = blockIdx.x * X_ROWS + first + 8 * c + 2 * (lane % 4) + i % 2;
                if (row < a.rows && x < a.m) a.out[x * a.out_stride + row] = acc[r][c][i];
            }
}
