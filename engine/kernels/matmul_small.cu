// out[r][i] = sum_k W[i][k] x[r][k] for up to 8 rows of activations, in one pass over the weights.
//
// A block has 16 rows of W, its warps share their groups of columns in turn, and what they have is added in shared
// memory in the order of the warps. mma.m16n8 has room for 8 activation rows whether they are there or not, and every
// sum is taken in the same order for each: a row's bits depend neither on m nor on the other rows.
//
// With -DEXPERTS, W is a stack of experts, and a block has the rows of activations of one entry of experts.cuh: those that
// chose its expert. Grid then (blocks of an expert, entries).
//
// Compiled with -DTYPE=ggml's number and -DDEPTH. Grid (at most as many blocks as run at a time, each takes every gridDim.x-th tile of
// 16 rows); block 32 to 320 threads, the same for a matrix at every m; dynamic shared memory `DEPTH * SLOT` and 1 KB for partial sums a warp.
// A warp copies weights and activations into a ring of its own, always `DEPTH` groups ahead, across the ends of tiles.
// Weights do not depend on the kernel before and are asked for in front of the wait for it. Activations are the same for
// all tiles: they are read in whole lines, through L1, since many small reads of few lines hold up L2.

#include "matmul_common.cuh"
#include "experts.cuh"

constexpr int MOST_WARPS = 10, COLUMNS = group_columns(TYPE), MOST_M = 8;
constexpr int SUPERS = 8 * super_bytes(TYPE);
// Where 16 bytes of a row of codes are in shared memory: rows g of the same block fall into other banks.
DEVICE int chunk_at(int row, int chunk) { return 128 * row + 16 * (chunk ^ 2 * (row & 3)); }

// A slot of the ring: a group of weights, scales of its super block, its activations. Those are rows of codes, scales
// and sums [block][row]; or floats, each lane's four of a step of 16 columns: row lane / 4, columns 4 (lane % 4) and on.
constexpr int SUPERS_AT = group_bytes(TYPE), X_AT = SUPERS_AT + SUPERS, SCALES_AT = X_AT + 128 * MOST_M;
constexpr int SUMS_AT = SCALES_AT + 16 * MOST_M;
constexpr int SLOT = is_float(TYPE) ? X_AT + 32 * COLUMNS : has_minimum(TYPE) ? SUMS_AT + 16 * MOST_M : SUMS_AT;

#ifdef EXPERTS
struct ExpertsArgs {
    ProductArgs product; // out and activations of all pairs; weights of all experts, but `rows` of one
    const ExpertEntry* entries;
    int choices_of_row; // pairs that share a row of activations
};
// The product of an entry.
struct Args : ProductArgs {
    const ExpertEntry* entry;
    int choices_of_row;
};
DEVICE i64 x_row(const Args& a, int column) { return column < a.m ? a.entry->pairs[column] / a.choices_of_row : 0; }
DEVICE i64 out_row(const Args& a, int column) { return a.entry->pairs[column]; }

DEVICE bool enter_expert(Args& a, const ExpertsArgs& from) {
    a.entry = from.entries + blockIdx.y, a.choices_of_row = from.choices_of_row;
    static_cast<ProductArgs&>(a) = from.product;
    i64 tiles = (i64)a.entry->expert * ((a.rows + 15) / 16);
    a.m = a.entry->count;
    a.groups_at += tiles * a.groups * group_bytes(TYPE);
    a.supers_at += tiles * ((a.groups + 1) / 2) * SUPERS;
    return a.m > 0;
}
#else
using Args = ProductArgs;
DEVICE i64 x_row(const Args&, int column) { return column; }
DEVICE i64 out_row(const Args&, int column) { return column; }
#endif

// Copies in the background, weights past L1; `bytes` 0 writes zeros.
DEVICE void copy_weights(u32 to, const u8* from, bool there) {
    asm volatile("{.reg .pred p; setp.ne.u32 p, %2, 0; @p cp.async.cg.shared.global [%0], [%1], 16;}" ::"r"(to), "l"(from), "r"((u32)there));
}
DEVICE void copy_16(u32 to, const void* from, bool there, int bytes) {
    asm volatile("{.reg .pred p; setp.ne.u32 p, %2, 0; @p cp.async.ca.shared.global [%0], [%1], 16, %3;}" ::"r"(to), "l"(from), "r"((u32)there), "r"(bytes));
}
DEVICE void copy_4(u32 to, const void* from, bool there, int bytes) {
    asm volatile("{.reg .pred p; setp.ne.u32 p, %2, 0; @p cp.async.ca.shared.global [%0], [%1], 4, %3;}" ::"r"(to), "l"(from), "r"((u32)there), "r"(bytes));
}

// The groups of a warp in the order in which it takes them, over all tiles of its block.
struct Sequence {
    const u8 *group_at, *supers_at; // of the next group: a lane's first 16 bytes; of the tile
    int tile, group, slot;
};

DEVICE void enter_tile(Sequence& s, const ProductArgs& a, int lane) {
    s.group = threadIdx.x >> 5;
    s.group_at = a.groups_at + ((i64)s.tile * a.groups + s.group) * group_bytes(TYPE) + 16 * lane;
    s.supers_at = a.supers_at + (i64)s.tile * ((a.groups + 1) / 2) * SUPERS + 16 * lane;
}

// Goes on to the next group.
DEVICE void advance(Sequence& s, const ProductArgs& a, int lane) {
    int warps = blockDim.x >> 5;
    s.slot = s.slot + 1 < DEPTH ? s.slot + 1 : 0;
    s.group += warps, s.group_at += warps * group_bytes(TYPE);
    if (s.group >= a.groups) {
        s.tile += gridDim.x;
        enter_tile(s, a, lane);
    }
}

DEVICE void ask_weights(const Sequence& s, u32 ring, int lane) {
    constexpr int CHUNKS = group_bytes(TYPE) / 16, WHOLE = CHUNKS / 32;
    u32 to = ring + s.slot * SLOT + 16 * lane;
    #pragma unroll
    for (int i = 0; i < WHOLE; ++i) copy_weights(to + 512 * i, s.group_at + 512 * i, true);
    if (CHUNKS % 32 != 0) copy_weights(to + 512 * WHOLE, s.group_at + 512 * WHOLE, lane < CHUNKS % 32);
    if (SUPERS != 0) copy_weights(to + SUPERS_AT, s.supers_at + s.group / 2 * SUPERS, 16 * lane < SUPERS);
}

// Where a lane finds its part of the activations, and the first group that has none for it.
struct Reader {
    const void *first, *scales;
    i64 half_way, to_sums; // bytes to four rows on, and from scales to sums
    int first_end, scales_end;
};

DEVICE Reader reader_of(const Args& a, int lane) {
    Reader r;
    int blocks = (int)(a.stride / 32), t = lane % 4;
    i64 g = x_row(a, lane / 4), upper = x_row(a, lane / 8);
    if (is_float(TYPE)) {
        r.first = a.values + g * a.stride + 4 * t;
        r.first_end = blocks;
    } else {
        r.first = a.codes + upper * a.stride + 16 * (lane % 8);
        r.first_end = (blocks - lane % 8 / 2 + 3) / 4;
    }
    r.half_way = (x_row(a, 4 + lane / 8) - upper) * a.stride;
    r.scales = a.scales + g * blocks + t, r.to_sums = (const u8*)a.sums - (const u8*)a.scales;
    r.scales_end = (blocks - t + 3) / 4;
    return r;
}

DEVICE void ask_rows(const Sequence& s, const Reader& r, int m, u32 ring, int lane) {
    u32 to = ring + s.slot * SLOT;
    if (is_float(TYPE)) {
        #pragma unroll
        for (int i = 0; i < COLUMNS / 16; ++i) {
            int bytes = s.group * (COLUMNS / 32) + i / 2 < r.first_end ? 16 : 0;
            copy_16(to + X_AT + 512 * i + 16 * lane, (const float*)r.first + s.group * COLUMNS + 16 * i, lane / 4 < m, bytes);
        }
        return;
    }
    const u8* codes = (const u8*)r.first + 128 * s.group;
    int bytes = s.group < r.first_end ? 16 : 0, bytes_4 = s.group < r.scales_end ? 4 : 0;
    copy_16(to + X_AT + chunk_at(lane / 8, lane % 8), codes, lane / 8 < m, bytes);
    if (m > 4) copy_16(to + X_AT + chunk_at(4 + lane / 8, lane % 8), codes + r.half_way, 4 + lane / 8 < m, bytes);
    const u8* scales = (const u8*)r.scales + 16 * s.group;
    u32 place = 4 * (lane % 4 * MOST_M + lane / 4);
    copy_4(to + SCALES_AT + place, scales, lane / 4 < m, bytes_4);
    if (has_minimum(TYPE)) copy_4(to + SUMS_AT + place, scales + r.to_sums, lane / 4 < m, bytes_4);
}

// Adds the group in a slot.
template <int W> DEVICE void add_group(float (&acc)[4], const u8* slot, int lane) {
    Group<W> weights;
    read_group<W>(weights, slot, slot + SUPERS_AT, lane);
    if constexpr (is_float(W)) {
        float c[4] = {0, 0, 0, 0};
        #pragma unroll
        for (int s = 0; s < COLUMNS / 16; ++s) {
            float w[2][4];
            floats_of<W>(w, weights, s);
            add_step<W>(c, w, *reinterpret_cast<const float4*>(slot + X_AT + 512 * s + 16 * lane));
        }
        // The tensor cores cut sums off; adding up groups outside of them keeps that small.
        #pragma unroll
        for (int i = 0; i < 4; ++i) acc[i] += c[i];
    } else {
        int g = lane / 4, t = lane % 4;
        Scales s = scales_of<W>(weights);
        if (has_minimum(W)) add_offsets<W>(acc, s, reinterpret_cast<const float*>(slot + SUMS_AT)[t * MOST_M + g]);
        #pragma unroll
        for (int j = 0; j < 4; ++j) {
            const u8* x = slot + X_AT;
            u32 w[4], b0, b1;
            if (W == W_Q6_K) {
                b0 = *reinterpret_cast<const u32*>(x + chunk_at(g, 2 * j) + 4 * t), b1 = *reinterpret_cast<const u32*>(x + chunk_at(g, 2 * j + 1) + 4 * t);
            } else {
                uint2 both = *reinterpret_cast<const uint2*>(x + chunk_at(g, 2 * j + t / 2) + 8 * (t % 2));
                b0 = both.x, b1 = both.y;
            }
            int z[2][4];
            codes_of<W>(w, weights, j);
            zero_points<W>(z, b0, b1);
            add_block<W>(acc, w, s, j, lane, b0, b1, z, reinterpret_cast<const float2*>(slot + SCALES_AT)[j * (MOST_M / 2) + t]);
        }
    }
}

// Adds what the warps have of a tile, in their order: sixteen rows by m rows of activations.
DEVICE void finish(const Args& a, const float* parts, int tile) {
    for (int i = threadIdx.x; i < 16 * a.m; i += blockDim.x) {
        int row = i % 16, r = i / 16, place = 4 * (4 * (row % 8) + r / 2) + 2 * (row / 8) + r % 2;
        float sum = 0;
        for (int w = 0; w < blockDim.x / 32; ++w) sum += parts[128 * w + place];
        if (16 * tile + row < a.rows) a.out[out_row(a, r) * a.out_stride + 16 * tile + row] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(32 * MOST_WARPS, 2)
#ifdef EXPERTS
matmul_small(const __grid_constant__ ExpertsArgs given) {
    Args a;
    release_next();
    await_previous();
    if (!enter_expert(a, given)) return;
#else
matmul_small(const __grid_constant__ Args a) {
#endif
    extern __shared__ uint4 rings[];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5, tiles = (a.rows + 15) / 16;
    u8* ring = (u8*)rings + warp * (DEPTH * SLOT);
    // One for even, one for odd tiles: a warp may be a tile ahead of another.
    float* parts = reinterpret_cast<float*>((u8*)rings + warps * (DEPTH * SLOT));
    u32 ring_at = (u32)__cvta_generic_to_shared(ring);
    Sequence next;
    next.tile = blockIdx.x, next.slot = 0;
    enter_tile(next, a, lane);
    Sequence start = next;
    #pragma unroll
    for (int i = 0; i < DEPTH; ++i) {
        if (next.tile < tiles) ask_weights(next, ring_at, lane);
        advance(next, a, lane);
    }
    // Rows of activations that do not exist stay zero.
    #pragma unroll
    for (int d = 0; d < DEPTH; ++d)
        for (int i = lane; i < (SLOT - X_AT) / 16; i += 32)
            reinterpret_cast<uint4*>(ring + d * SLOT + X_AT)[i] = make_uint4(0, 0, 0, 0);
    __syncwarp();
#ifndef EXPERTS
    release_next();
    await_previous();
#endif

    const Reader reader = reader_of(a, lane);
    #pragma unroll
    for (int i = 0; i < DEPTH; ++i) {
        if (start.tile < tiles) ask_rows(start, reader, a.m, ring_at, lane);
        asm volatile("cp.async.commit_group;");
        advance(start, a, lane);
    }
    float acc[4] = {0, 0, 0, 0};
    int slot = 0;
    for (int tile = blockIdx.x, odd = 0; tile < tiles; tile += gridDim.x, odd ^= 1) {
        for (int group = warp; group < a.groups; group += warps) {
            asm volatile("cp.async.wait_group %0;" ::"n"(DEPTH - 1) : "memory");
            __syncwarp();
            add_group<TYPE>(acc, ring + slot * SLOT, lane);
            slot = slot + 1 < DEPTH ? slot + 1 : 0;
            __syncwarp();
            if (next.tile < tiles) {
                ask_weights(next, ring_at, lane);
                ask_rows(next, reader, a.m, ring_at, lane);
            }
            asm volatile("cp.async.commit_group;");
            advance(next, a, lane);
        }
        *reinterpret_cast<float4*>(parts + (odd * warps + warp) * 128 + 4 * lane) = make_float4(acc[0], acc[1], acc[2], acc[3]);
        #pragma unroll
        for (int i = 0; i < 4; ++i) acc[i] = 0;
        __syncthreads();
        finish(a, parts + odd * warps * 128, tile);
    }
}
