// AdamW in place; the equations stand in the optimiser.

// sum += new
extern "C" __global__ void gather(float *sum, const float *more, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) sum[i] += more[i];
}

// parts[first + block] = Σ g² of the block's 256 · 16 values.
extern "C" __global__ void squares(const float *g, double *parts, int first, int n) {
    __shared__ double sums[256];
    double sum = 0;
    int from = blockIdx.x * 4096;
    for (int i = from + threadIdx.x; i < min(from + 4096, n); i += 256) sum += (double)g[i] * g[i];
    sums[threadIdx.x] = sum;
    for (int step = 128; step > 0; step /= 2) {
        __syncthreads();
        if (threadIdx.x < step) sums[threadIdx.x] += sums[threadIdx.x + step];
    }
    if (threadIdx.x == 0) parts[first + blockIdx.x] = sums[0];
}

// m = β₁m + (1 − β₁)g, v = β₂v + (1 − β₂)g², w = keep·w − rate·m / (√v·root + ε); then g = 0.
extern "C" __global__ void update(float *w, float *first, float *second, float *gradient, int n,
                                  float clip, float b1, float b2, float rate, float root,
                                  float keep, float epsilon) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float g = gradient[i] * clip;
    float m = b1 * first[i] + (1.0f - b1) * g, v = b2 * second[i] + (1.0f - b2) * g * g;
    first[i] = m, second[i] = v, gradient[i] = 0;
    w[i] = w[i] * keep - rate * m / (sqrtf(v) * root + epsilon);
}
