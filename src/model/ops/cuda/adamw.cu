// AdamW over all variables in one launch; the equations stand in the optimiser. blockIdx.y is the
// variable; its states lie one after the other in flat arrays.

struct Variable {
    float *values;
    long long offset, n;
    long long bits;  // 1: it decays, 2: it is an adapter's B, 4: its states have 8 bits
    long long state; // where its states begin, among those of its kind
};

// What of an update is the same for all variables.
struct Numbers {
    float clip, b1, b2, root, plain_rate, plain_keep, b_rate, b_keep, epsilon;
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
__device__ void step(const Variable &v, const Numbers &u, long long i, float *gradient, float &m,
                     float &s) {
    float rate = v.bits & 2 ? u.b_rate : u.plain_rate;
    float kept = !(v.bits & 1) ? 1.0f : v.bits & 2 ? u.b_keep : u.plain_keep;
    float g = gradient[v.offset + i] * u.clip;
    m = u.b1 * m + (1.0f - u.b1) * g, s = u.b2 * s + (1.0f - u.b2) * g * g;
    gradient[v.offset + i] = 0;
    v.values[i] = v.values[i] * kept - rate * m / (sqrtf(s) * u.root + u.epsilon);
}

extern "C" __global__ void update(const Variable *variables, float *first, float *second,
                                  float *gradient, float clip, float b1, float b2, float root,
                                  float plain_rate, float plain_keep, float b_rate, float b_keep,
                                  float epsilon) {
    Variable v = variables[blockIdx.y];
    if (v.bits & 4) return;
    Numbers u = {clip, b1, b2, root, plain_rate, plain_keep, b_rate, b_keep, epsilon};
    EACH(i, v.n) step(v, u, i, gradient, first[v.state + i], second[v.state + i]);
}

// The code of the nearest value: how many of the 255 ascending bounds lie under x.
__device__ unsigned char nearest(const float *bounds, float x) {
    int code = 0;
    for (int half = 128; half > 0; half /= 2) {
        if (x > bounds[code + half - 1]) code += half;
    }
    return code;
}

// The most of all 256 threads.
__device__ float most(float x, float *shared) {
    shared[threadIdx.x] = x;
    for (int step = 128; step > 0; step /= 2) {
        __syncthreads();
        if (threadIdx.x < step) {
            shared[threadIdx.x] = fmaxf(shared[threadIdx.x], shared[threadIdx.x + step]);
        }
    }
    __syncthreads();
    float all = shared[0];
    __syncthreads();
    return all;
}

// The same with both states as codes of a dynamic map, a scale for each 256 of them. `maps` has
// for each state 256 values and 255 bounds between them (and one of infinity).
extern "C" __global__ void update_8bit(const Variable *variables, const float *maps,
                                       unsigned char *first, float *first_scales,
                                       unsigned char *second, float *second_scales,
                                       float *gradient, float clip, float b1, float b2, float root,
                                       float plain_rate, float plain_keep, float b_rate,
                                       float b_keep, float epsilon) {
    Variable v = variables[blockIdx.y];
    if (!(v.bits & 4)) return;
    __shared__ float map[1024], room[256];
    for (int i = threadIdx.x; i < 1024; i += 256) map[i] = maps[i];
    __syncthreads();
    Numbers u = {clip, b1, b2, root, plain_rate, plain_keep, b_rate, b_keep, epsilon};
    for (long long block = blockIdx.x; block * 256 < v.n; block += gridDim.x) {
        long long i = block * 256 + threadIdx.x, at = v.state + i, scale = v.state / 256 + block;
        float m = 0, s = 0;
        if (i < v.n) {
            m = map[first[at]] * first_scales[scale];
            s = map[512 + second[at]] * second_scales[scale];
            step(v, u, i, gradient, m, s);
        }
        float m_most = most(fabsf(m), room), s_most = most(fabsf(s), room);
        if (i < v.n) {
            first[at] = nearest(map + 256, m * (m_most > 0 ? 1.0f / m_most : 0.0f));
            unsigned char code = nearest(map + 768, s * (s_most > 0 ? 1.0f / s_most : 0.0f));
            second[at] = code == 0 && s > 0 ? 1 : code; // a root of zero would divide the step
        }
        if (threadIdx.x == 0) first_scales[scale] = m_most, second_scales[scale] = s_most;
    }
}
