// y = g·σ(g)·u, element by element.
__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

extern "C" __global__ void swiglu_forward(const float *gate, const float *up, float *y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

// dg = dy·u·σ(g)·(1 + g·(1 − σ(g))), du = dy·g·σ(g)
extern "C" __global__ void swiglu_backward(const float *gate, const float *up, const float *dy,
                                           float *dgate, float *dup, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float g = gate[i], s = sigmoid(g);
    dgate[i] = dy[i] * up[i] * s * (1.0f + g * (1.0f - s));
    dup[i] = dy[i] * g * s;
}
