// w = CODE[index] · absmax of the block of 64; two indices a byte, the first in the high nibble.
#include <cuda_bf16.h>

__constant__ float CODE[16] = {
    -1.0f,          -0.6961928009986877f,  -0.5250730514526367f, -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f,  0.16093020141124725f,  0.24611230194568634f,  0.33791524171829224f,
    0.44070982933044434f,  0.5626170039176941f,   0.7229568362236023f,   1.0f};

__device__ inline void store8(float *to, const float *values) {
    *(float4 *)to = make_float4(values[0], values[1], values[2], values[3]);
    *(float4 *)(to + 4) = make_float4(values[4], values[5], values[6], values[7]);
}

__device__ inline void store8(__nv_bfloat16 *to, const float *values) {
    __nv_bfloat162 pairs[4];
    for (int i = 0; i < 4; i++) pairs[i] = __floats2bfloat162_rn(values[2 * i], values[2 * i + 1]);
    *(uint4 *)to = *(const uint4 *)pairs;
}

// One scale a block.
struct Plain {
    const float *absmax;
    __device__ float of(int block) const { return absmax[block]; }
};

// One code a block, an index into a map of 256, and an absmax each 256 blocks; rounded after each
// operation as on the CPU, never fused.
struct Double {
    const unsigned char *codes;
    const float *absmax, *map;
    float offset;
    __device__ float of(int block) const {
        return __fadd_rn(__fmul_rn(map[codes[block]], absmax[block / 256]), offset);
    }
};

// Eight weights (four bytes) a thread.
template <typename T, typename Scales>
__device__ void dequantize(const unsigned char *codes, Scales scales, T *w, int n) {
    __shared__ float code[16];
    if (threadIdx.x < 16) code[threadIdx.x] = CODE[threadIdx.x];
    __syncthreads();
    int first = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (first >= n) return;
    float scale = scales.of(first / 64);
    if (first + 8 <= n) {
        unsigned int four = *(const unsigned int *)(codes + first / 2);
        float out[8];
        for (int b = 0; b < 4; b++) {
            unsigned int byte = four >> (8 * b);
            out[2 * b] = code[(byte >> 4) & 15] * scale;
            out[2 * b + 1] = code[byte & 15] * scale;
        }
        store8(w + first, out);
        return;
    }
    for (int i = first; i < n; i++) {
        unsigned char byte = codes[i / 2];
        w[i] = T(code[i % 2 ? byte & 15 : byte >> 4] * scale);
    }
}

extern "C" __global__ void nf4_f32(const unsigned char *codes, const float *absmax, float *w,
                                   int n) {
    dequantize(codes, Plain{absmax}, w, n);
}

extern "C" __global__ void nf4_bf16(const unsigned char *codes, const float *absmax,
                                    __nv_bfloat16 *w, int n) {
    dequantize(codes, Plain{absmax}, w, n);
}

extern "C" __global__ void nf4_double_f32(const unsigned char *codes,
                                          const unsigned char *scale_codes, const float *absmax,
                                          const float *map, float offset, float *w, int n) {
    dequantize(codes, Double{scale_codes, absmax, map, offset}, w, n);
}

extern "C" __global__ void nf4_double_bf16(const unsigned char *codes,
                                           const unsigned char *scale_codes, const float *absmax,
                                           const float *map, float offset, __nv_bfloat16 *w,
                                           int n) {
    dequantize(codes, Double{scale_codes, absmax, map, offset}, w, n);
}

// f32 to bf16, eight values a thread.
extern "C" __global__ void round_bf16(const float *x, __nv_bfloat16 *y, int n) {
    int first = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (first + 8 <= n && (size_t)(x + first) % 16 == 0) {
        float values[8];
        *(float4 *)values = *(const float4 *)(x + first);
        *(float4 *)(values + 4) = *(const float4 *)(x + first + 4);
        store8(y + first, values);
        return;
    }
    for (int i = first; i < min(first + 8, n); i++) y[i] = __float2bfloat16_rn(x[i]);
}
