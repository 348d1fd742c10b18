// Rows of activations in the forms that products read: f32, and 8-bit blocks of 32 for quantised weights.
//
// A block's scale d is its largest magnitude / 127, its codes round(x / d), its sum d * (sum of codes), as ggml's Q8_1.
// `stride` is the row length rounded up to 32; what is beyond the row is 0 in every form.

struct ActivationRows {
    float* values; // [rows][stride]
    signed char* codes; // [rows][stride]
    float* scales; // [rows][stride / 32]
    float* sums; // [rows][stride / 32]
    i64 stride;
};

// Element i of a row, for a warp that holds 32 elements from a multiple of 32 on, one a lane.
DEVICE void store_activation(const ActivationRows& to, i64 row, int i, float x) {
    float most = fabsf(x);
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, lanes));
    float scale = most / 127.0f, inverse = scale == 0 ? 0 : 1 / scale;
    int code = (int)roundf(x * inverse), sum = code;
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
    i64 at = row * to.stride + i;
    to.values[at] = x;
    to.codes[at] = (signed char)code;
    if (i % 32 == 0) {
        to.scales[at / 32] = scale;
        to.sums[at / 32] = scale * (float)sum;
    }
}

// Elements i to i + 3 of a row, for a warp whose lanes hold 128 elements from a multiple of 32 on, or some groups of 8
// lanes of it; every lane of a group takes part.
DEVICE void store_activations(const ActivationRows& to, i64 row, int i, float4 x, u32 lanes) {
    float most = fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)));
    #pragma unroll
    for (int step = 4; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(lanes, most, step));
    float scale = most / 127.0f, inverse = scale == 0 ? 0 : 1 / scale;
    int a = (int)roundf(x.x * inverse), b = (int)roundf(x.y * inverse), c = (int)roundf(x.z * inverse), d = (int)roundf(x.w * inverse);
    int sum = a + b + c + d;
    #pragma unroll
    for (int step = 4; step > 0; step /= 2) sum += __shfl_xor_sync(lanes, sum, step);
    i64 at = row * to.stride + i;
    *reinterpret_cast<float4*>(to.values + at) = x;
    *reinterpret_cast<char4*>(to.codes + at) = make_char4((signed char)a, (signed char)b, (signed char)c, (signed char)d);
    if (i % 32 == 0) {
        to.scales[at / 32] = scale;
        to.sums[at / 32] = scale * (float)sum;
    }
}

// Sum over a block of up to 1024 threads, the same bits in every thread; `room` holds 32 floats.
DEVICE float block_sum(float x, float* room) {
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, warps = blockDim.x >> 5;
    __syncthreads();
    if (lane == 0) room[warp] = x;
    __syncthreads();
    x = lane < warps ? room[lane] : 0;
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
    return x;
}
