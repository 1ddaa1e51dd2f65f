// A row of logits becomes softmax − e_target, and its −log softmax[target] is written; a block a
// row.
#include "reduce.cuh"

extern "C" __global__ void residues(float *logits, const unsigned int *targets, float *losses,
                                    int vocabulary) {
    float *row = logits + (size_t)blockIdx.x * vocabulary;
    unsigned int target = targets[blockIdx.x];
    float top = -INFINITY, sum = 0, chosen = row[target];
    for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) top = fmaxf(top, row[i]);
    top = block_max(top);
    for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) sum += expf(row[i] - top);
    sum = block_sum(sum);
    if (threadIdx.x == 0) losses[blockIdx.x] = logf(sum) + (top - chosen);
    for (int i = threadIdx.x; i < vocabulary; i += blockDim.x)
        row[i] = expf(row[i] - top) / sum - (i == target ? 1.0f : 0.0f);
}
