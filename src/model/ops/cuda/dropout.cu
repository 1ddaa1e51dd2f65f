// The mask of `chance.rs`: number i of the stream is SplitMix64 at state + (i + 1)·γ.
__device__ inline float masked(unsigned long long state, int i, double share, float kept) {
    unsigned long long z = state + (unsigned long long)(i + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53 < share ? 0.0f : kept;
}

// y = x ⊙ m, or y += x ⊙ m.
extern "C" __global__ void dropout(const float *x, float *y, int n, unsigned long long state,
                                   double share, float kept, int add) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i] * masked(state, i, share, kept);
    y[i] = add ? y[i] + v : v;
}
