// The attention of attention.cu on the tensor cores: operands in bf16, sums in f32, heads 64 or 128
// wide. Every warp owns 16 rows of the block's 64 and keeps what it sums in registers, laid out as
// mma.m16n8k16 has it: thread (g, t) = (lane / 4, lane % 4) holds columns 2t and 2t + 1 of rows g
// and g + 8 (Dao 2023).
#include <cuda_bf16.h>

#include "tiles.cuh"

#define ROWS 64    // queries or keys of a block, and keys a step
#define QUERIES 32 // queries a step where a block owns keys
#define THREADS 128

typedef __nv_bfloat16 half_t;

__device__ inline int group() { return threadIdx.x % 32 / 4; }
__device__ inline int pair() { return threadIdx.x % 4 * 2; }
__device__ inline int warp_row() { return threadIdx.x / 32 * 16; }

__device__ inline unsigned packed(float low, float high) {
    __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *(unsigned *)&both;
}

// Rows of one head in shared memory, D + 8 apart (the padding keeps banks apart), zeros below.
template <int D>
__device__ inline void load(half_t *to, const float *from, int first, int rows, int count,
                            int width, int head) {
    for (int i = threadIdx.x; i < count * D / 4; i += THREADS) {
        int row = i / (D / 4), column = i % (D / 4) * 4;
        float4 v = make_float4(0, 0, 0, 0);
        if (row < rows) v = *(const float4 *)(from + (size_t)(first + row) * width + head * D + column);
        *(uint2 *)(to + row * (D + 8) + column) = make_uint2(packed(v.x, v.y), packed(v.z, v.w));
    }
}

__device__ inline void mma(float c[4], const unsigned a[4], unsigned b0, unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// out = a · bᵀ for the warp's 16 rows of `a` and all 8·N rows of `b`.
template <int D, int N>
__device__ inline void products(float out[N][4], const half_t *a, const half_t *b) {
    for (int n = 0; n < N; n++) out[n][0] = out[n][1] = out[n][2] = out[n][3] = 0;
    const int stride = D + 8;
    a += (warp_row() + group()) * stride + pair();
    b += group() * stride + pair();
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        unsigned rows[4] = {*(unsigned *)(a + k), *(unsigned *)(a + k + 8 * stride),
                            *(unsigned *)(a + k + 8), *(unsigned *)(a + k + 8 * stride + 8)};
#pragma unroll
        for (int n = 0; n < N; n++)
            mma(out[n], rows, *(unsigned *)(b + 8 * n * stride + k),
                *(unsigned *)(b + 8 * n * stride + k + 8));
    }
}

// acc += w · v for the warp's 16 × 8N weights in registers and the 8N rows of `v`.
template <int D, int N>
__device__ inline void gather(float acc[D / 8][4], const float w[N][4], const half_t *v) {
    const int stride = D + 8;
#pragma unroll
    for (int k = 0; k < N / 2; k++) {
        const float *low = w[2 * k], *high = w[2 * k + 1];
        unsigned rows[4] = {packed(low[0], low[1]), packed(low[2], low[3]),
                            packed(high[0], high[1]), packed(high[2], high[3])};
        unsigned from = __cvta_generic_to_shared(v + (16 * k + threadIdx.x % 16) * stride);
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            unsigned b0, b1;
            asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                         : "=r"(b0), "=r"(b1)
                         : "r"(from + 16 * n));
            mma(acc[n], rows, b0, b1);
        }
    }
}

template <int D>
__device__ inline void store(float *to, const float acc[D / 8][4], int first, int rows, int width,
                             int head, float low, float high) {
    int row = warp_row() + group();
    float *at = to + (size_t)(first + row) * width + head * D + pair();
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
        if (row < rows) *(float2 *)(at + 8 * n) = make_float2(acc[n][0] * low, acc[n][1] * low);
        if (row + 8 < rows)
            *(float2 *)(at + 8 * (size_t)width + 8 * n) =
                make_float2(acc[n][2] * high, acc[n][3] * high);
    }
}

// The largest, or the sum, over the four threads that share rows.
__device__ inline float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffff, x, 2));
}
__device__ inline float row_sum(float x) {
    x += __shfl_xor_sync(0xffffffff, x, 1);
    return x + __shfl_xor_sync(0xffffffff, x, 2);
}

template <int D>
__device__ void forward(const float *q, const float *k, const float *v, float *out, float *norms,
                        const int4 *tiles, int n, int heads, int kv_heads) {
    extern __shared__ half_t shared[];
    half_t *queries = shared, *keys = queries + ROWS * (D + 8), *values = keys + ROWS * (D + 8);
    Tile tile = tile_of(tiles);
    int head = blockIdx.y, kv = head / (heads / kv_heads), row = warp_row() + group();
    float scale = rsqrtf((float)D), top[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    float acc[D / 8][4] = {};
    load<D>(queries, q, tile.first, tile.rows, ROWS, heads * D, head);
    int visible = tile.position + tile.rows;
    for (int from = 0; from < visible; from += ROWS) {
        int width = min(ROWS, visible - from);
        __syncthreads();
        load<D>(keys, k, tile.start + from, width, ROWS, kv_heads * D, kv);
        load<D>(values, v, tile.start + from, width, ROWS, kv_heads * D, kv);
        __syncthreads();
        float s[ROWS / 8][4];
        products<D, ROWS / 8>(s, queries, keys);
        float most[2] = {top[0], top[1]};
        for (int c = 0; c < ROWS / 8; c++)
            for (int i = 0; i < 4; i++) {
                bool seen = from + 8 * c + pair() + i % 2 <= tile.position + row + i / 2 * 8;
                s[c][i] = seen ? s[c][i] * scale : -INFINITY;
                most[i / 2] = fmaxf(most[i / 2], s[c][i]);
            }
        for (int r = 0; r < 2; r++) {
            most[r] = row_max(most[r]);
            float shrink = expf(top[r] - most[r]);
            top[r] = most[r], sum[r] *= shrink;
            for (int c = 0; c < D / 8; c++) acc[c][2 * r] *= shrink, acc[c][2 * r + 1] *= shrink;
        }
        for (int c = 0; c < ROWS / 8; c++)
            for (int i = 0; i < 4; i++) sum[i / 2] += s[c][i] = expf(s[c][i] - top[i / 2]);
        gather<D, ROWS / 8>(acc, s, values);
    }
    for (int r = 0; r < 2; r++) {
        sum[r] = row_sum(sum[r]);
        if (pair() == 0 && row + 8 * r < tile.rows)
            norms[(size_t)head * n + tile.first + row + 8 * r] = top[r] + logf(sum[r]);
    }
    store<D>(out, acc, tile.first, tile.rows, heads * D, head, 1 / sum[0], 1 / sum[1]);
}

// dQ = dS·K with P = exp(q·kᵀ/√d − norm) and dS = P ⊙ (dO·vᵀ − dot)/√d.
template <int D>
__device__ void queries(const float *q, const float *k, const float *v, const float *dout,
                        const float *norms, const float *dots, float *dq, const int4 *tiles, int n,
                        int heads, int kv_heads) {
    extern __shared__ half_t shared[];
    const int size = ROWS * (D + 8);
    half_t *queries = shared, *douts = queries + size, *keys = douts + size, *values = keys + size;
    Tile tile = tile_of(tiles);
    int head = blockIdx.y, kv = head / (heads / kv_heads), row = warp_row() + group();
    float scale = rsqrtf((float)D), norm[2] = {}, dot[2] = {};
    float acc[D / 8][4] = {};
    for (int r = 0; r < 2; r++)
        if (row + 8 * r < tile.rows) {
            size_t at = (size_t)head * n + tile.first + row + 8 * r;
            norm[r] = norms[at], dot[r] = dots[at];
        }
    load<D>(queries, q, tile.first, tile.rows, ROWS, heads * D, head);
    load<D>(douts, dout, tile.first, tile.rows, ROWS, heads * D, head);
    int visible = tile.position + tile.rows;
    for (int from = 0; from < visible; from += ROWS) {
        int width = min(ROWS, visible - from);
        __syncthreads();
        load<D>(keys, k, tile.start + from, width, ROWS, kv_heads * D, kv);
        load<D>(values, v, tile.start + from, width, ROWS, kv_heads * D, kv);
        __syncthreads();
        float s[ROWS / 8][4], dp[ROWS / 8][4];
        products<D, ROWS / 8>(s, queries, keys);
        products<D, ROWS / 8>(dp, douts, values);
        for (int c = 0; c < ROWS / 8; c++)
            for (int i = 0; i < 4; i++) {
                int r = i / 2, at = row + 8 * r;
                bool seen = at < tile.rows && from + 8 * c + pair() + i % 2 <= tile.position + at;
                float p = seen ? expf(s[c][i] * scale - norm[r]) : 0;
                s[c][i] = p * (dp[c][i] - dot[r]) * scale;
            }
        gather<D, ROWS / 8>(acc, s, keys);
    }
    store<D>(dq, acc, tile.first, tile.rows, heads * D, head, 1, 1);
}

// dK = dSᵀ·Q and dV = Pᵀ·dO over the group's query heads; here keys are the rows.
template <int D>
__device__ void keys(const float *q, const float *k, const float *v, const float *dout,
                     const float *norms, const float *dots, float *dk, float *dv, const int4 *tiles,
                     int n, int heads, int kv_heads) {
    extern __shared__ half_t shared[];
    half_t *keys = shared, *values = keys + ROWS * (D + 8);
    half_t *queries = values + ROWS * (D + 8), *douts = queries + QUERIES * (D + 8);
    __shared__ float norm[QUERIES], dot[QUERIES];
    Tile tile = tile_of(tiles);
    int kv = blockIdx.y, group_size = heads / kv_heads, row = warp_row() + group();
    float scale = rsqrtf((float)D);
    float dk_acc[D / 8][4] = {}, dv_acc[D / 8][4] = {};
    load<D>(keys, k, tile.first, tile.rows, ROWS, kv_heads * D, kv);
    load<D>(values, v, tile.first, tile.rows, ROWS, kv_heads * D, kv);
    for (int head = kv * group_size; head < (kv + 1) * group_size; head++)
        for (int first = tile.first; first < tile.end; first += QUERIES) {
            int rows = min(QUERIES, tile.end - first);
            __syncthreads();
            load<D>(queries, q, first, rows, QUERIES, heads * D, head);
            load<D>(douts, dout, first, rows, QUERIES, heads * D, head);
            if (threadIdx.x < rows) {
                norm[threadIdx.x] = norms[(size_t)head * n + first + threadIdx.x];
                dot[threadIdx.x] = dots[(size_t)head * n + first + threadIdx.x];
            }
            __syncthreads();
            float s[QUERIES / 8][4], dp[QUERIES / 8][4];
            products<D, QUERIES / 8>(s, keys, queries);
            products<D, QUERIES / 8>(dp, values, douts);
            for (int c = 0; c < QUERIES / 8; c++)
                for (int i = 0; i < 4; i++) {
                    int query = 8 * c + pair() + i % 2, key = tile.position + row + i / 2 * 8;
                    bool seen = query < rows && key <= first - tile.start + query;
                    float p = seen ? expf(s[c][i] * scale - norm[query]) : 0;
                    s[c][i] = p;
                    dp[c][i] = seen ? p * (dp[c][i] - dot[query]) * scale : 0;
                }
            gather<D, QUERIES / 8>(dv_acc, s, douts);
            gather<D, QUERIES / 8>(dk_acc, dp, queries);
        }
    store<D>(dk, dk_acc, tile.first, tile.rows, kv_heads * D, kv, 1, 1);
    store<D>(dv, dv_acc, tile.first, tile.rows, kv_heads * D, kv, 1, 1);
}

#define OF_WIDTH(D)                                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS) bf16_forward_##D(                        \
        const float *q, const float *k, const float *v, float *out, float *norms,                  \
        const int4 *tiles, int n, int heads, int kv_heads) {                                       \
        forward<D>(q, k, v, out, norms, tiles, n, heads, kv_heads);                                \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS) bf16_queries_##D(                        \
        const float *q, const float *k, const float *v, const float *dout, const float *norms,     \
        const float *dots, float *dq, const int4 *tiles, int n, int heads, int kv_heads) {         \
        queries<D>(q, k, v, dout, norms, dots, dq, tiles, n, heads, kv_heads);                     \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS) bf16_keys_##D(                           \
        const float *q, const float *k, const float *v, const float *dout, const float *norms,     \
        const float *dots, float *dk, float *dv, const int4 *tiles, int n, int heads,              \
        int kv_heads) {                                                                            \
        keys<D>(q, k, v, dout, norms, dots, dk, dv, tiles, n, heads, kv_heads);                    \
    }
OF_WIDTH(64)
OF_WIDTH(128)
