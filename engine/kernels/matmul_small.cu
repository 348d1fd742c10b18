// out[r][i] = sum_k W[i][k] x[r][k] for up to 8 rows of activations, in one pass over the weights.
//
// A block has 16 rows of W, its warps share their groups of columns in turn, and what they have is added in shared
// memory in the order of the warps. mma.m16n8 has room for 8 activation rows whether they are there or not, and every
// sum is taken in the same order for each: a row's bits depend neither on m nor on the other rows.
//
// Compiled with -DTYPE=ggml's number and -DDEPTH. Grid (at most as many blocks as run at a time, each takes every gridDim.x-th tile of
// 16 rows); block 32 to 256 threads, the same for a matrix at every m; dynamic shared memory `sizeof(Ring)` a warp.
// A warp copies its weights into a ring of its own, always `DEPTH` groups ahead, across the ends of tiles and, since
// they do not depend on the kernel before, in front of the wait for it. Activations are the same for all tiles: they are
// read in whole lines and put in order in shared memory, since many small reads of few lines hold up L2.

#include "matmul_common.cuh"

constexpr int MOST_WARPS = 8, COLUMNS = group_columns(TYPE), MOST_M = 8;
#ifndef BLOCKS
#define BLOCKS 3
#endif
constexpr int SUPERS = 8 * super_bytes(TYPE);
// Bytes from one row of codes to the next in shared memory: rows g fall into other banks.
constexpr int PITCH = 160;

// A lane's part of a group of columns of activations. Codes: row lane / 8 (and 4 more), bytes 16 (lane % 8) and on;
// scale and sum: row lane / 4, block lane % 4. Floats: row lane / 4, four from 16 s + 4 (lane % 4) on.
template <bool FLOATS> struct RowsOf {
    uint4 codes[2];
    float scale, sum;
};
template <> struct RowsOf<true> { float4 values[COLUMNS / 16]; };
typedef RowsOf<is_float(TYPE)> Rows;

// A warp's activations in order.
template <bool FLOATS> struct ExchangeOf {
    alignas(16) u8 codes[MOST_M * PITCH];
    float scales[4][MOST_M];
};
template <> struct ExchangeOf<true> {};
typedef ExchangeOf<is_float(TYPE)> Exchange;

// What a warp has in shared memory.
struct Ring {
    alignas(16) u8 weights[DEPTH][group_bytes(TYPE) + SUPERS];
    Exchange x;
};

// Where a lane finds its part of the activations. A group is there for it below `end`.
struct Reader {
    const signed char* codes[2];
    const float *values, *scales, *sums;
    int codes_end[2], scales_end;
};

DEVICE Reader reader_of(const ProductArgs& a, int lane) {
    Reader r;
    int blocks = (int)(a.stride / 32), g = lane / 4, t = lane % 4;
    #pragma unroll
    for (int i = 0; i < 2; ++i) {
        int row = 4 * i + lane / 8;
        r.codes[i] = a.codes + row * a.stride + 16 * (lane % 8);
        r.codes_end[i] = row < a.m ? (blocks - lane % 8 / 2 + 3) / 4 : 0;
    }
    r.values = a.values + g * a.stride + 4 * t;
    r.scales = a.scales + g * blocks + t, r.sums = a.sums + g * blocks + t;
    r.scales_end = g >= a.m ? 0 : is_float(TYPE) ? blocks : (blocks - t + 3) / 4;
    return r;
}

template <int W, typename Rows> DEVICE void load_rows(Rows& to, const Reader& from, int group) {
    if constexpr (is_float(W)) {
        #pragma unroll
        for (int s = 0; s < COLUMNS / 16; ++s) {
            to.values[s] = make_float4(0, 0, 0, 0);
            if (group * (COLUMNS / 32) + s / 2 < from.scales_end)
                to.values[s] = *reinterpret_cast<const float4*>(from.values + group * COLUMNS + 16 * s);
        }
    } else {
        #pragma unroll
        for (int i = 0; i < 2; ++i) {
            to.codes[i] = make_uint4(0, 0, 0, 0);
            if (group < from.codes_end[i]) to.codes[i] = *reinterpret_cast<const uint4*>(from.codes[i] + 128 * group);
        }
        to.scale = to.sum = 0;
        if (group < from.scales_end) {
            to.scale = from.scales[4 * group];
            if (has_minimum(W)) to.sum = from.sums[4 * group];
        }
    }
}

// Copies in the background, past L1, if `there`.
DEVICE void copy_16(u32 to, const u8* from, bool there) {
    asm volatile("{.reg .pred p; setp.ne.u32 p, %2, 0; @p cp.async.cg.shared.global [%0], [%1], 16;}" ::"r"(to), "l"(from), "r"((u32)there));
}

// The groups of a warp in the order in which it takes them, over all tiles of its block.
struct Sequence {
    const u8 *group_at, *supers_at; // of the next group: a lane's first 16 bytes; of the tile
    u32 to;                         // a lane's place in the ring
    int tile, group, slot;
};
constexpr int SLOT = group_bytes(TYPE) + SUPERS;

DEVICE void enter_tile(Sequence& s, const ProductArgs& a, int lane) {
    s.group = threadIdx.x >> 5;
    s.group_at = a.groups_at + ((i64)s.tile * a.groups + s.group) * group_bytes(TYPE) + 16 * lane;
    s.supers_at = a.supers_at + (i64)s.tile * ((a.groups + 1) / 2) * SUPERS + 16 * lane;
}

// Asks for the next group.
DEVICE void ask(Sequence& s, const ProductArgs& a, int tiles, int lane) {
    constexpr int CHUNKS = group_bytes(TYPE) / 16, WHOLE = CHUNKS / 32;
    if (s.tile < tiles) {
        u32 to = s.to + s.slot * SLOT;
        #pragma unroll
        for (int i = 0; i < WHOLE; ++i) copy_16(to + 512 * i, s.group_at + 512 * i, true);
        if (CHUNKS % 32 != 0) copy_16(to + 512 * WHOLE, s.group_at + 512 * WHOLE, lane < CHUNKS % 32);
        if (SUPERS != 0) copy_16(to + group_bytes(TYPE), s.supers_at + s.group / 2 * SUPERS, 16 * lane < SUPERS);
        int warps = blockDim.x >> 5;
        s.slot = s.slot + 1 < DEPTH ? s.slot + 1 : 0;
        s.group += warps, s.group_at += warps * group_bytes(TYPE);
        if (s.group >= a.groups) {
            s.tile += gridDim.x;
            enter_tile(s, a, lane);
        }
    }
    asm volatile("cp.async.commit_group;");
}

// Puts a lane's part of the activations where other lanes find it.
template <int W, typename Exchange, typename Rows> DEVICE void exchange(Exchange& x, const Rows& rows, int lane) {
    if constexpr (!is_float(W)) {
        #pragma unroll
        for (int i = 0; i < 2; ++i) *reinterpret_cast<uint4*>(x.codes + (4 * i + lane / 8) * PITCH + 16 * (lane % 8)) = rows.codes[i];
        x.scales[lane % 4][lane / 4] = rows.scale;
    }
}

template <int W, typename Rows, typename Exchange>
DEVICE void add_group(float (&acc)[4], const Group<W>& weights, const Rows& rows, const Exchange& x, int lane) {
    if constexpr (is_float(W)) {
        float c[4] = {0, 0, 0, 0};
        #pragma unroll
        for (int s = 0; s < COLUMNS / 16; ++s) {
            float w[2][4];
            floats_of<W>(w, weights, s);
            add_step<W>(c, w, rows.values[s]);
        }
        // The tensor cores cut sums off; adding up groups outside of them keeps that small.
        #pragma unroll
        for (int i = 0; i < 4; ++i) acc[i] += c[i];
    } else {
        int g = lane / 4, t = lane % 4;
        Scales s = scales_of<W>(weights);
        add_offsets<W>(acc, s, rows.sum);
        #pragma unroll
        for (int j = 0; j < 4; ++j) {
            const u8* row = x.codes + g * PITCH + 32 * j;
            u32 w[4], b0, b1;
            if (W == W_Q6_K) {
                b0 = *reinterpret_cast<const u32*>(row + column_of<W>(0, t)), b1 = *reinterpret_cast<const u32*>(row + column_of<W>(1, t));
            } else {
                uint2 both = *reinterpret_cast<const uint2*>(row + column_of<W>(0, t));
                b0 = both.x, b1 = both.y;
            }
            int z[2][4];
            codes_of<W>(w, weights, j);
            zero_points<W>(z, b0, b1);
            add_block<W>(acc, w, s, j, lane, b0, b1, z, *reinterpret_cast<const float2*>(&x.scales[j][2 * t]));
        }
    }
}

// Adds what the warps have of a tile, in their order: sixteen rows by m rows of activations.
DEVICE void finish(const ProductArgs& a, const float (&parts)[MOST_WARPS][128], int tile) {
    for (int i = threadIdx.x; i < 16 * a.m; i += blockDim.x) {
        int row = i % 16, r = i / 16, place = 4 * (4 * (row % 8) + r / 2) + 2 * (row / 8) + r % 2;
        float sum = 0;
        for (int w = 0; w < blockDim.x / 32; ++w) sum += parts[w][place];
        if (16 * tile + row < a.rows) a.out[r * a.out_stride + 16 * tile + row] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(32 * MOST_WARPS, BLOCKS) matmul_small(const __grid_constant__ ProductArgs a) {
    extern __shared__ Ring rings[];
    // One for even, one for odd tiles: a warp may be a tile ahead of another.
    __shared__ float parts[2][MOST_WARPS][128];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5, tiles = (a.rows + 15) / 16;
    Ring& ring = rings[warp];
    Sequence next;
    next.tile = blockIdx.x, next.slot = 0, next.to = (u32)__cvta_generic_to_shared(&ring.weights[0][16 * lane]);
    enter_tile(next, a, lane);
    #pragma unroll
    for (int i = 0; i < DEPTH; ++i) ask(next, a, tiles, lane);
    release_next();
    await_previous();

    const Reader reader = reader_of(a, lane);
    Rows rows;
    load_rows<TYPE>(rows, reader, warp);
    int slot = 0;
    float acc[4] = {0, 0, 0, 0};
    for (int tile = blockIdx.x, odd = 0; tile < tiles; tile += gridDim.x, odd ^= 1) {
        for (int group = warp; group < a.groups; group += warps) {
            Rows now = rows;
            exchange<TYPE>(ring.x, now, lane);
            load_rows<TYPE>(rows, reader, group + warps < a.groups ? group + warps : warp);
            asm volatile("cp.async.wait_group %0;" ::"n"(DEPTH - 1) : "memory");
            __syncwarp();
            Group<TYPE> weights;
            read_group<TYPE>(weights, ring.weights[slot], ring.weights[slot] + group_bytes(TYPE), lane);
            add_group<TYPE>(acc, weights, now, ring.x, lane);
            __syncwarp();
            ask(next, a, tiles, lane);
            slot = slot + 1 < DEPTH ? slot + 1 : 0;
        }
        *reinterpret_cast<float4*>(&parts[odd][warp][4 * lane]) = make_float4(acc[0], acc[1], acc[2], acc[3]);
        #pragma unroll
        for (int i = 0; i < 4; ++i) acc[i] = 0;
        __syncthreads();
        finish(a, parts[odd], tile);
    }
}
