// A block's output joins the residual stream, and the stream is normed for the next block.
//
//   h = (h + y / rms(y) * y_weight) * scale      (y absent: h stays as it is)
//   x = h / rms(h) * x_weight                    (x_weight absent: x = h)
//   rms(a) = sqrt(mean(a^2) + eps)
//
// grid (rows); block: a thread has 4 elements, or 8 of rows beyond 4096; rows of up to 8192. h, y f32 [rows][n], n a
// multiple of 4; x as activations.cuh. Serves every place where a norm stands in a layer; rows do not know of each other.
//
// It stands between two products 3 or 4 times a layer, so what counts is its latency: everything is read at once, and
// the square of the new stream is summed from its parts, so that there is one exchange between warps and not two.

#include "attention_common.cuh"
#include "activations.cuh"

struct ResidualNormArgs {
    ActivationRows x;
    float* h;
    const float* y;
    const float* y_weight;
    const float* x_weight;
    float scale, eps;
    int n;
};

constexpr int MOST = 2;

DEVICE float4 load4(const float* from, int i, bool there) {
    return there ? *reinterpret_cast<const float4*>(from + i) : make_float4(0, 0, 0, 0);
}
DEVICE float dot4(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }
DEVICE float4 mul4(float4 a, float4 b) { return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w); }
DEVICE float4 scale4(float4 a, float s) { return make_float4(a.x * s, a.y * s, a.z * s, a.w * s); }

// Sums of four values over the block, the same bits in every thread.
DEVICE float4 block_sums(float4 x, float4* room) {
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        x.x += __shfl_xor_sync(~0u, x.x, lanes), x.y += __shfl_xor_sync(~0u, x.y, lanes);
        x.z += __shfl_xor_sync(~0u, x.z, lanes), x.w += __shfl_xor_sync(~0u, x.w, lanes);
    }
    int lane = threadIdx.x & 31, warps = blockDim.x >> 5;
    if (lane == 0) room[threadIdx.x >> 5] = x;
    __syncthreads();
    x = lane < warps ? room[lane] : make_float4(0, 0, 0, 0);
    #pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        x.x += __shfl_xor_sync(~0u, x.x, lanes), x.y += __shfl_xor_sync(~0u, x.y, lanes);
        x.z += __shfl_xor_sync(~0u, x.z, lanes), x.w += __shfl_xor_sync(~0u, x.w, lanes);
    }
    return x;
}

extern "C" __global__ void __launch_bounds__(1024) residual_norm(const __grid_constant__ ResidualNormArgs a) {
    __shared__ float4 room[32];
    float4 y_weight[MOST], x_weight[MOST], h[MOST], y[MOST];
    // Weights are nobody's output: they come in while the kernel before this one still runs.
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int i = 4 * (threadIdx.x + k * blockDim.x);
        y_weight[k] = load4(a.y_weight, i, a.y && i < a.n);
        x_weight[k] = a.x_weight ? load4(a.x_weight, i, i < a.n) : make_float4(1, 1, 1, 1);
    }
    release_next();
    await_previous();
    float* h_row = a.h + (i64)blockIdx.x * a.n;
    const float* y_row = a.y + (i64)blockIdx.x * a.n;
    float4 sums = make_float4(0, 0, 0, 0); // y y, h h, h (y w), (y w)(y w)
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int i = 4 * (threadIdx.x + k * blockDim.x);
        h[k] = load4(h_row, i, i < a.n);
        y[k] = load4(y_row, i, a.y && i < a.n);
    }
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        sums.x += dot4(y[k], y[k]);
        sums.y += dot4(h[k], h[k]);
        y[k] = mul4(y[k], y_weight[k]);
        sums.z += dot4(h[k], y[k]);
        sums.w += dot4(y[k], y[k]);
    }
    sums = block_sums(sums, room);
    float join = a.y ? 1 / sqrtf(sums.x / a.n + a.eps) : 0;
    float squares = fmaxf(0.0f, sums.y + join * (2 * sums.z + join * sums.w)) * a.scale * a.scale;
    float inverse = a.x_weight ? 1 / sqrtf(squares / a.n + a.eps) : 1;
    #pragma unroll
    for (int k = 0; k < MOST; ++k) {
        int i = 4 * (threadIdx.x + k * blockDim.x);
        u32 lanes = __ballot_sync(~0u, i < a.x.stride);
        if (i < a.x.stride) {
            float4 to = make_float4((h[k].x + y[k].x * join) * a.scale, (h[k].y + y[k].y * join) * a.scale,
                (h[k].z + y[k].z * join) * a.scale, (h[k].w + y[k].w * join) * a.scale);
            if (a.y && i < a.n) *reinterpret_cast<float4*>(h_row + i) = to;
            if (i >= a.n) to = make_float4(0, 0, 0, 0);
            store_activations(a.x, blockIdx.x, i, scale4(mul4(to, x_weight[k]), inverse), lanes);
        }
    }
}
