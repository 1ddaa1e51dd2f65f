// AdamW over all variables in one launch; the equations stand in the optimiser. blockIdx.y is the
// variable; its states lie one after the other in flat arrays.

struct Variable {
    float *values;
    long long offset, n;
    long long bits; // 1: it decays, 2: it is an adapter's B
};

#define EACH(i, n)                                                                                 \
    for (long long i = blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += gridDim.x * blockDim.x)

// sum += new
extern "C" __global__ void gather(const Variable *variables, const float *const *gradients,
                                  float *sum) {
    Variable v = variables[blockIdx.y];
    const float *more = gradients[blockIdx.y];
    EACH(i, v.n) sum[v.offset + i] += more[i];
}

// parts[variable][block] = Σ g² of what the block sees.
extern "C" __global__ void squares(const Variable *variables, const float *gradient,
                                   double *parts) {
    __shared__ double sums[256];
    Variable v = variables[blockIdx.y];
    double sum = 0;
    EACH(i, v.n) sum += (double)gradient[v.offset + i] * gradient[v.offset + i];
    sums[threadIdx.x] = sum;
    for (int step = 128; step > 0; step /= 2) {
        __syncthreads();
        if (threadIdx.x < step) sums[threadIdx.x] += sums[threadIdx.x + step];
    }
    if (threadIdx.x == 0) parts[blockIdx.y * gridDim.x + blockIdx.x] = sums[0];
}

// m = β₁m + (1 − β₁)g, v = β₂v + (1 − β₂)g², w = kept·w − rate·m / (√v·root + ε); then g = 0.
extern "C" __global__ void update(const Variable *variables, float *first, float *second,
                                  float *gradient, float clip, float b1, float b2, float root,
                                  float plain_rate, float plain_keep, float b_rate, float b_keep,
                                  float epsilon) {
    Variable v = variables[blockIdx.y];
    float rate = v.bits & 2 ? b_rate : plain_rate;
    float kept = !(v.bits & 1) ? 1.0f : v.bits & 2 ? b_keep : plain_keep;
    EACH(i, v.n) {
        long long at = v.offset + i;
        float g = gradient[at] * clip;
        float m = b1 * first[at] + (1.0f - b1) * g, s = b2 * second[at] + (1.0f - b2) * g * g;
        first[at] = m, second[at] = s, gradient[at] = 0;
        v.values[i] = v.values[i] * kept - rate * m / (sqrtf(s) * root + epsilon);
    }
}
