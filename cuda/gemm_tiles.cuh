// The products of cuda/conv2d_tiled.cu: tiles of 64 x 64 results by a block of 256 threads, its operands in
// shared memory.
#pragma once

#include "cuda/numbers.cuh"

namespace MILLRACE_CUDA_NS::gemm {

constexpr int kBlock = 256;
constexpr int kTile = 64, kDepth = 16;   // results of a block each way, terms of a step
constexpr int kSide = 4;                 // results of a thread each way
constexpr int kThreads = kTile / kSide;  // of a block each way
static_assert(kThreads * kThreads == kBlock && kTile * kDepth == kBlock * kSide);

// Both operands of a step. Four numbers more than a row needs: else the four threads that write k, k + 4,
// k + 8 and k + 12 of one line would all meet in one bank; so only two do.
struct alignas(16) Tiles {
  float a[kDepth][kTile + 4], b[kDepth][kTile + 4];
};

using Four = Floats<kSide>;

struct Operands {
  Four a, b;
};

// p[0..4), zeros from p[left) on. kVector: all widths are multiples of four, so that a whole vector is there
// or none of it.
template <bool kVector, class T> __device__ Four load4(const T* p, int left) {
  Four x{};
  if constexpr (kVector) {
    if (left > 0) x = load_floats<kSide>(p);
  } else {
#pragma unroll
    for (int i = 0; i < kSide; ++i) {
      if (i < left) x[i] = to_float(p[i]);
    }
  }
  return x;
}

template <bool kVector, class T> __device__ void store4(T* p, int left, const Four& x) {
  if constexpr (kVector) {
    if (left > 0) store_floats(p, x);
  } else {
#pragma unroll
    for (int i = 0; i < kSide; ++i) {
      if (i < left) p[i] = from_float<T>(x[i]);
    }
  }
}

// What a thread loads of an operand in each step, four neighbours in memory. Across: of line t / 4, terms
// 4 (t % 4) and on, where terms are neighbours. Along: of term t / 16, lines 4 (t % 16) and on.
__device__ inline int across_line() { return static_cast<int>(threadIdx.x) / (kDepth / kSide); }
__device__ inline int across_term() { return static_cast<int>(threadIdx.x) % (kDepth / kSide) * kSide; }
__device__ inline int along_term() { return static_cast<int>(threadIdx.x) / kThreads; }
__device__ inline int along_line() { return static_cast<int>(threadIdx.x) % kThreads * kSide; }

__device__ inline void put_across(float (&tile)[kDepth][kTile + 4], const Four& x) {
#pragma unroll
  for (int i = 0; i < kSide; ++i) tile[across_term() + i][across_line()] = x[i];
}
__device__ inline void put_along(float (&tile)[kDepth][kTile + 4], const Four& x) {
  store_floats(&tile[along_term()][along_line()], x);
}

// The thread's results: rows row(), ... of the block's tile, columns column(), ...
struct Results {
  Four sum[kSide]{};

  __device__ static int row() { return static_cast<int>(threadIdx.x) / kThreads * kSide; }
  __device__ static int column() { return static_cast<int>(threadIdx.x) % kThreads * kSide; }
};

// Adds the products of all steps. fetch() gives this thread's operands of the next step, put(tiles, operands)
// stores them.
template <class Fetch, class Put>
__device__ inline void multiply(Tiles& tiles, int steps, Fetch fetch, Put put, Results& results) {
  if (steps == 0) return;
  Operands next = fetch();
  for (int step = 0; step < steps; ++step) {
    if (step > 0) __syncthreads();  // all are done with the tiles of the step before
    put(tiles, next);
    __syncthreads();
    if (step + 1 < steps) next = fetch();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      const Four a = load_floats<kSide>(&tiles.a[k][Results::row()]);
      const Four b = load_floats<kSide>(&tiles.b[k][Results::column()]);
#pragma unroll
      for (int i = 0; i < kSide; ++i) {
#pragma unroll
        for (int j = 0; j < kSide; ++j) results.sum[i][j] += a[i] * b[j];
      }
    }
  }
}

}  // namespace MILLRACE_CUDA_NS::gemm
