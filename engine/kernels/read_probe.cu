// Reads `words` 16-byte words as fast as the memory gives them, to know what that is. Every thread has eight loads under
// way. The sum goes nowhere unless it is `never`, which the compiler cannot rule out.
//
// Grid: any; block 256. A word beyond the last whole round of the grid is not read.

typedef unsigned int u32;
typedef long long i64;

struct ProbeArgs {
    const uint4* from;
    u32* out;
    i64 words;
    u32 never;
};

__device__ __forceinline__ uint4 read_once(const uint4* p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}

extern "C" __global__ void __launch_bounds__(256) read_probe(const __grid_constant__ ProbeArgs a) {
    constexpr int UNDER_WAY = 8;
    u32 sum = 0;
    // A block reads whole runs of 8 x 256 words.
    for (i64 at = (i64)blockIdx.x * UNDER_WAY * 256; at + UNDER_WAY * 256 <= a.words; at += (i64)gridDim.x * UNDER_WAY * 256) {
        uint4 v[UNDER_WAY];
        #pragma unroll
        for (int i = 0; i < UNDER_WAY; ++i) v[i] = read_once(a.from + at + i * 256 + threadIdx.x);
        #pragma unroll
        for (int i = 0; i < UNDER_WAY; ++i) sum ^= v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
    }
    if (sum == a.never) a.out[0] = sum;
}
