// Causal grouped-query attention over packed sequences in f32, in tiles of 32 queries by 32 keys:
// no T × T matrix exists. Every block writes rows of its own, so no sum needs atomics.
#include "tiles.cuh"

#define TILE 32
#define COLUMNS 8 // 16 threads across: heads are at most 128 wide

// Rotates one head of a tile's rows; `sign` −1 turns back.
extern "C" __global__ void rotate(const float *x, float *y, const float *cosine, const float *sine,
                                  const int4 *tiles, int width, int half, float sign) {
    Tile tile = tile_of(tiles);
    for (int i = threadIdx.x; i < tile.rows * half; i += blockDim.x) {
        int row = i / half, at = i % half;
        size_t low = (size_t)(tile.first + row) * width + blockIdx.y * 2 * half + at;
        size_t angle = (size_t)(tile.position + row) * half + at;
        float a = x[low], b = x[low + half], c = cosine[angle], s = sign * sine[angle];
        y[low] = a * c - b * s;
        y[low + half] = b * c + a * s;
    }
}

// Rotates new keys into their sequences' caches and copies the values beside them. A tile's bases
// lie where row 0 would be, so that a new row has the same number there as in `k`.
extern "C" __global__ void append(const float *k, const float *v, const float *cosine,
                                  const float *sine, const int4 *tiles, float *const *bases,
                                  int width, int half) {
    Tile tile = tile_of(tiles);
    float *keys = bases[2 * blockIdx.x], *values = bases[2 * blockIdx.x + 1];
    for (int i = threadIdx.x; i < tile.rows * half; i += blockDim.x) {
        int row = i / half, at = i % half;
        long long low = (long long)(tile.first + row) * width + blockIdx.y * 2 * half + at;
        size_t angle = (size_t)(tile.position + row) * half + at;
        float a = k[low], b = k[low + half], c = cosine[angle], s = sine[angle];
        keys[low] = a * c - b * s;
        keys[low + half] = b * c + a * s;
        values[low] = v[low];
        values[low + half] = v[low + half];
    }
}

// Rows `first..first + rows` of one head into shared memory, zeros below them.
__device__ inline void load(float *to, const float *from, int first, int rows, int width, int head,
                            int dim) {
    for (int i = threadIdx.x; i < TILE * dim; i += blockDim.x) {
        int row = i / dim, column = i % dim;
        float v = 0;
        if (row < rows) v = from[(long long)(first + row) * width + head * dim + column];
        to[row * (dim + 1) + column] = v;
    }
}

// Two rows by two columns of a · bᵀ for each thread: rows 2y, 2y + 1 and columns x, x + 16.
__device__ inline void products(const float *a, const float *b, int dim, float out[2][2]) {
    int x = threadIdx.x % 16, y = threadIdx.x / 16, stride = dim + 1;
    const float *a0 = a + 2 * y * stride, *a1 = a0 + stride;
    const float *b0 = b + x * stride, *b1 = b0 + 16 * stride;
    out[0][0] = out[0][1] = out[1][0] = out[1][1] = 0;
    for (int d = 0; d < dim; d++) {
        out[0][0] += a0[d] * b0[d];
        out[0][1] += a0[d] * b1[d];
        out[1][0] += a1[d] * b0[d];
        out[1][1] += a1[d] * b1[d];
    }
}

// acc[r][c] += Σ_j p(2y + r, j) · v[j][x + 16c], p being transposed where `across`.
template <bool across>
__device__ inline void gather(float acc[2][COLUMNS], const float *p, const float *v, int dim) {
    int x = threadIdx.x % 16, y = threadIdx.x / 16;
    for (int j = 0; j < TILE; j++) {
        float p0 = across ? p[j * (TILE + 1) + 2 * y] : p[2 * y * (TILE + 1) + j];
        float p1 = across ? p[j * (TILE + 1) + 2 * y + 1] : p[(2 * y + 1) * (TILE + 1) + j];
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            if (x + 16 * c < dim) {
                float value = v[j * (dim + 1) + x + 16 * c];
                acc[0][c] += p0 * value;
                acc[1][c] += p1 * value;
            }
        }
    }
}

__device__ inline void store(float *to, const float acc[2][COLUMNS], int first, int rows, int width,
                             int head, int dim) {
    int x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
        for (int r = 0; r < 2; r++)
            if (2 * y + r < rows && x + 16 * c < dim)
                to[(size_t)(first + 2 * y + r) * width + head * dim + x + 16 * c] = acc[r][c];
}

// o = softmax(q·kᵀ/√d)·v with a running maximum; `norms` [heads, n] keeps log Σ exp of each row.
// With `bases` each tile has keys and values of its own, as in `append`.
extern "C" __global__ void attention_forward(const float *q, const float *k, const float *v,
                                             float *out, float *norms, const int4 *tiles,
                                             const float *const *bases, int n, int heads,
                                             int kv_heads, int dim) {
    extern __shared__ float shared[];
    float *queries = shared, *keys = queries + TILE * (dim + 1), *p = keys + TILE * (dim + 1);
    __shared__ float rescale[TILE], total[TILE];
    Tile tile = tile_of(tiles);
    if (bases) k = bases[2 * blockIdx.x], v = bases[2 * blockIdx.x + 1];
    int head = blockIdx.y, kv = head / (heads / kv_heads), kv_width = kv_heads * dim;
    int x = threadIdx.x % 16, y = threadIdx.x / 16;
    int row = threadIdx.x / 8, lane = threadIdx.x % 8;
    float top = -INFINITY, sum = 0, scale = rsqrtf((float)dim);
    float acc[2][COLUMNS] = {};
    load(queries, q, tile.first, tile.rows, heads * dim, head, dim);
    int visible = tile.position + tile.rows;
    for (int from = 0; from < visible; from += TILE) {
        int width = min(TILE, visible - from);
        __syncthreads();
        load(keys, k, tile.start + from, width, kv_width, kv, dim);
        __syncthreads();
        float s[2][2];
        products(queries, keys, dim, s);
        for (int r = 0; r < 2; r++)
            for (int c = 0; c < 2; c++) {
                int key = from + x + 16 * c;
                bool seen = key < visible && key <= tile.position + 2 * y + r;
                p[(2 * y + r) * (TILE + 1) + x + 16 * c] = seen ? s[r][c] * scale : -INFINITY;
            }
        __syncthreads();
        // Eight threads a row take four columns each.
        float *line = p + row * (TILE + 1) + lane * 4, most = top, part = 0;
        for (int j = 0; j < 4; j++) most = fmaxf(most, line[j]);
        for (int step = 4; step > 0; step /= 2)
            most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, step));
        for (int j = 0; j < 4; j++) part += line[j] = expf(line[j] - most);
        for (int step = 4; step > 0; step /= 2) part += __shfl_xor_sync(0xffffffff, part, step);
        float shrink = expf(top - most);
        sum = sum * shrink + part;
        top = most;
        if (lane == 0) rescale[row] = shrink;
        load(keys, v, tile.start + from, width, kv_width, kv, dim);
        __syncthreads();
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            acc[0][c] *= rescale[2 * y];
            acc[1][c] *= rescale[2 * y + 1];
        }
        gather<false>(acc, p, keys, dim);
    }
    if (lane == 0) {
        total[row] = sum;
        if (norms && row < tile.rows) norms[(size_t)head * n + tile.first + row] = top + logf(sum);
    }
    __syncthreads();
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
        for (int r = 0; r < 2; r++) acc[r][c] /= total[2 * y + r];
    store(out, acc, tile.first, tile.rows, heads * dim, head, dim);
}

// dots[head][row] = Σ_d out·dout: a warp a row and head.
extern "C" __global__ void attention_dots(const float *out, const float *dout, float *dots, int n,
                                          int heads, int dim) {
    int at = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (at >= n * heads) return;
    float sum = 0;
    for (int d = threadIdx.x % 32; d < dim; d += 32)
        sum += out[(size_t)at * dim + d] * dout[(size_t)at * dim + d];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffff, sum, step);
    if (threadIdx.x % 32 == 0) dots[(size_t)(at % heads) * n + at / heads] = sum;
}

// One tile's P = exp(q·kᵀ/√d − norm) and dS = P ⊙ (dO·vᵀ − dot)/√d, for queries from `first`
// (`rows` of them, the first at `position`) and keys from `from`.
__device__ inline void recompute(const float *queries, const float *douts, const float *keys,
                                 const float *values, const float *norms, const float *dots,
                                 int first, int rows, int position, int from, int dim, float *p,
                                 float *ds) {
    int x = threadIdx.x % 16, y = threadIdx.x / 16;
    float s[2][2], dp[2][2], scale = rsqrtf((float)dim);
    products(queries, keys, dim, s);
    products(douts, values, dim, dp);
    for (int r = 0; r < 2; r++)
        for (int c = 0; c < 2; c++) {
            int row = 2 * y + r, at = row * (TILE + 1) + x + 16 * c;
            float probability = 0, change = 0;
            if (row < rows && from + x + 16 * c <= position + row) {
                probability = expf(s[r][c] * scale - norms[first + row]);
                change = probability * (dp[r][c] - dots[first + row]) * scale;
            }
            if (p) p[at] = probability;
            ds[at] = change;
        }
}

// dQ = dS·K, a block a query tile and head.
extern "C" __global__ void attention_queries(const float *q, const float *k, const float *v,
                                             const float *dout, const float *norms,
                                             const float *dots, float *dq, const int4 *tiles, int n,
                                             int heads, int kv_heads, int dim) {
    extern __shared__ float shared[];
    int size = TILE * (dim + 1);
    float *queries = shared, *douts = queries + size, *keys = douts + size, *values = keys + size;
    float *ds = values + size;
    Tile tile = tile_of(tiles);
    int head = blockIdx.y, kv = head / (heads / kv_heads), kv_width = kv_heads * dim;
    float acc[2][COLUMNS] = {};
    load(queries, q, tile.first, tile.rows, heads * dim, head, dim);
    load(douts, dout, tile.first, tile.rows, heads * dim, head, dim);
    norms += (size_t)head * n, dots += (size_t)head * n;
    int visible = tile.position + tile.rows;
    for (int from = 0; from < visible; from += TILE) {
        int width = min(TILE, visible - from);
        __syncthreads();
        load(keys, k, tile.start + from, width, kv_width, kv, dim);
        load(values, v, tile.start + from, width, kv_width, kv, dim);
        __syncthreads();
        recompute(queries, douts, keys, values, norms, dots, tile.first, tile.rows, tile.position,
                  from, dim, nullptr, ds);
        __syncthreads();
        gather<false>(acc, ds, keys, dim);
    }
    store(dq, acc, tile.first, tile.rows, heads * dim, head, dim);
}

// dK = dSᵀ·Q and dV = Pᵀ·dO, a block a key tile and key head, over the group's query heads.
extern "C" __global__ void attention_keys(const float *q, const float *k, const float *v,
                                          const float *dout, const float *norms, const float *dots,
                                          float *dk, float *dv, const int4 *tiles, int n, int heads,
                                          int kv_heads, int dim) {
    extern __shared__ float shared[];
    int size = TILE * (dim + 1);
    float *queries = shared, *douts = queries + size, *keys = douts + size, *values = keys + size;
    float *p = values + size, *ds = p + TILE * (TILE + 1);
    Tile tile = tile_of(tiles);
    int kv = blockIdx.y, group = heads / kv_heads, kv_width = kv_heads * dim;
    float dk_acc[2][COLUMNS] = {}, dv_acc[2][COLUMNS] = {};
    load(keys, k, tile.first, tile.rows, kv_width, kv, dim);
    load(values, v, tile.first, tile.rows, kv_width, kv, dim);
    for (int head = kv * group; head < (kv + 1) * group; head++)
        for (int first = tile.first; first < tile.end; first += TILE) {
            int rows = min(TILE, tile.end - first);
            __syncthreads();
            load(queries, q, first, rows, heads * dim, head, dim);
            load(douts, dout, first, rows, heads * dim, head, dim);
            __syncthreads();
            recompute(queries, douts, keys, values, norms + (size_t)head * n,
                      dots + (size_t)head * n, first, rows, first - tile.start, tile.position, dim,
                      p, ds);
            __syncthreads();
            gather<true>(dk_acc, ds, queries, dim);
            gather<true>(dv_acc, p, douts, dim);
        }
    store(dk, dk_acc, tile.first, tile.rows, kv_width, kv, dim);
    store(dv, dv_acc, tile.first, tile.rows, kv_width, kv, dim);
}
