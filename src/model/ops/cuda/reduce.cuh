// Sums and maxima over a block of 256 threads, in an order that never changes.
#pragma once

template <typename F> __device__ float block_reduce(float value, F f) {
    __shared__ float parts[8];
    for (int step = 16; step > 0; step /= 2)
        value = f(value, __shfl_xor_sync(0xffffffff, value, step));
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = parts[0];
    for (int i = 1; i < 8; i++) value = f(value, parts[i]);
    return value;
}

__device__ inline float block_sum(float value) {
    return block_reduce(value, [](float a, float b) { return a + b; });
}

__device__ inline float block_max(float value) {
    return block_reduce(value, [](float a, float b) { return fmaxf(a, b); });
}
