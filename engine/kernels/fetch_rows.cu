// Rows of a table in the host's memory, as the file has them, brought to the device: to[i] = table[ids[i]], and
// places[i] = i, or NONE for an id that is no row (row 0 is brought then).
//
// Grid (ids, parts); block 128. A thread asks for all its pieces before it stores the first, so that a row is one round
// trip over the bus, not as many as it has pieces. `piece` is the widest of 16, 8, 4 and 2 bytes that rows and table are
// multiples of.

#include "attention_common.cuh"

struct FetchArgs {
    const u8* table; // mapped into the device's addresses
    u8* to;
    const u32* ids;
    u32* places;
    i64 row_bytes;
    u32 rows;
    int piece;
};

constexpr int THREADS = 128, AHEAD = 4;
constexpr u32 NONE = 0xffffffffu;

template <typename Piece> DEVICE void copy(const u8* from, u8* to, int count) {
    const Piece* source = reinterpret_cast<const Piece*>(from);
    Piece* target = reinterpret_cast<Piece*>(to);
    int step = gridDim.y * THREADS;
    for (int first = blockIdx.y * THREADS + threadIdx.x; first < count; first += AHEAD * step) {
        Piece pieces[AHEAD];
        #pragma unroll
        for (int i = 0; i < AHEAD; ++i)
            if (first + i * step < count) pieces[i] = source[first + i * step];
        #pragma unroll
        for (int i = 0; i < AHEAD; ++i)
            if (first + i * step < count) target[first + i * step] = pieces[i];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) fetch_rows(const __grid_constant__ FetchArgs a) {
    release_next();
    await_previous();
    u32 id = a.ids[blockIdx.x], row = id < a.rows ? id : 0;
    const u8* from = a.table + (i64)row * a.row_bytes;
    u8* to = a.to + (i64)blockIdx.x * a.row_bytes;
    int count = (int)(a.row_bytes / a.piece);
    if (blockIdx.y == 0 && threadIdx.x == 0) a.places[blockIdx.x] = id == row ? blockIdx.x : NONE;
    switch (a.piece) {
    case 16: copy<uint4>(from, to, count); break;
    case 8: copy<uint2>(from, to, count); break;
    case 4: copy<u32>(from, to, count); break;
    default: copy<unsigned short>(from, to, count);
    }
}
