// y = w · x / sqrt(mean(x²) + ε); a block a row.
#include "reduce.cuh"

extern "C" __global__ void rms_norm_forward(const float *x, const float *w, float *y, int width,
                                            float epsilon) {
    x += (size_t)blockIdx.x * width;
    y += (size_t)blockIdx.x * width;
    float squares = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) squares += x[i] * x[i];
    float r = 1.0f / sqrtf(block_sum(squares) / width + epsilon);
    for (int i = threadIdx.x; i < width; i += blockDim.x) y[i] = x[i] * r * w[i];
}

// dx = r·dy·w − x·r³·mean(dy·w·x)
extern "C" __global__ void rms_norm_backward(const float *x, const float *w, const float *dy,
                                             float *dx, int width, float epsilon) {
    size_t row = (size_t)blockIdx.x * width;
    x += row, dy += row, dx += row;
    float squares = 0, products = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        squares += x[i] * x[i];
        products += dy[i] * w[i] * x[i];
    }
    float r = 1.0f / sqrtf(block_sum(squares) / width + epsilon);
    float shared = r * r * r * block_sum(products) / width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) dx[i] = r * dy[i] * w[i] - x[i] * shared;
}
