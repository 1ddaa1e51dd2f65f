// Rows that one block works on. A tile is (first row, rows, its sequence's first row, and end);
// without a table of tiles there is one sequence: rows 0..n, whose first row has `past` before it.
#pragma once

struct Tile {
    int first, rows, start, end, position;
};

__device__ inline Tile tile_of(const int4 *tiles, int n, int past, int size) {
    if (!tiles) {
        int first = blockIdx.x * size;
        return {first, min(size, n - first), 0, n, first + past};
    }
    int4 t = tiles[blockIdx.x];
    return {t.x, t.y, t.z, t.w, t.x - t.z};
}
