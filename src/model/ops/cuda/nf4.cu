// w = CODE[index] · absmax of the block of 64; two indices a byte, the first in the high nibble.
__constant__ float CODE[16] = {
    -1.0f,          -0.6961928009986877f,  -0.5250730514526367f, -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f,  0.16093020141124725f,  0.24611230194568634f,  0.33791524171829224f,
    0.44070982933044434f,  0.5626170039176941f,   0.7229568362236023f,   1.0f};

// Eight weights (four bytes) a thread.
extern "C" __global__ void nf4_dequantize(const unsigned char *codes, const float *absmax, float *w,
                                          int n) {
    __shared__ float code[16];
    if (threadIdx.x < 16) code[threadIdx.x] = CODE[threadIdx.x];
    __syncthreads();
    int first = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (first >= n) return;
    float scale = absmax[first / 64];
    if (first + 8 <= n) {
        unsigned int four = *(const unsigned int *)(codes + first / 2);
        float out[8];
        for (int b = 0; b < 4; b++) {
            unsigned int byte = four >> (8 * b);
            out[2 * b] = code[(byte >> 4) & 15] * scale;
            out[2 * b + 1] = code[byte & 15] * scale;
        }
        *(float4 *)(w + first) = make_float4(out[0], out[1], out[2], out[3]);
        *(float4 *)(w + first + 4) = make_float4(out[4], out[5], out[6], out[7]);
        return;
    }
    for (int i = first; i < n; i++) {
        unsigned char byte = codes[i / 2];
        w[i] = code[i % 2 ? byte & 15 : byte >> 4] * scale;
    }
}
