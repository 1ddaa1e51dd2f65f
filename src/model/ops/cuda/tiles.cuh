// Rows that one block works on: (first row, rows, its sequence's first row, and end). A sequence
// that continues a cache begins as many rows before its first as the cache holds.
#pragma once

struct Tile {
    int first, rows, start, end, position;
};

__device__ inline Tile tile_of(const int4 *tiles) {
    int4 t = tiles[blockIdx.x];
    return {t.x, t.y, t.z, t.w, t.x - t.z};
}
