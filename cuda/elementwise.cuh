// Pointwise ops, y[k] = f(x_0[k], x_1[k], ...): one pair of kernels for every formula. A formula is a functor
// of the op's header, for numbers of any type; here it computes in float. Operands have as many elements as y
// and may lie where y lies: a thread reads all that it needs before it writes.
#pragma once

#include "core/follow.h"
#include "cuda/numbers.cuh"
#include "cuda/op.cuh"

namespace MILLRACE_CUDA_NS {

enum class Rung { plain, vector };

inline constexpr int kPointwiseBlock = 256;
inline constexpr int kVectorBytes = 16;  // the most that one instruction moves

inline bool vector_aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % kVectorBytes == 0; }

// One thread per element. A warp moves 128 bytes of float per instruction, 64 of bf16. Bytes per element:
// those of y and of each input.
template <class T, class F, class... In> __global__ void __launch_bounds__(kPointwiseBlock)
    pointwise_elements(F f, int64_t count, T* y, const In*... x) {
  const int64_t k = global_thread();
  if (k < count) y[k] = from_float<T>(f(to_float(x[k])...));
}

// The same bytes in fewer instructions, and more of them under way: a thread moves kUnroll vectors of 16
// bytes, a block apart so that each access of a warp is 512 bytes in one piece, and issues all its loads
// before its first store. The 2,048 threads of a multiprocessor can then wait for 64 KiB of each input at
// once. Little's law asks for less: 132 of them that share 4.3 TB/s, with some 0.7 us from load to use, need
// 23 KiB each. What is no whole vector, at the end, goes to the first threads of the grid. Registers: at most
// 32, so that those 2,048 threads fit.
inline constexpr int kUnroll = 2;

template <class T, class F, class... In> __global__ void __launch_bounds__(kPointwiseBlock)
    pointwise_vectors(F f, int64_t count, T* y, const In*... x) {
  constexpr int kLanes = kVectorBytes / sizeof(T);
  const int64_t vectors = count / kLanes;
  const int64_t first = int64_t{blockIdx.x} * (kUnroll * kPointwiseBlock) + threadIdx.x;
  if (first < vectors) {
    Floats<kLanes> result[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      // A vector past the end is this thread's first once more: no load waits behind a branch.
      const int64_t v = first + u * kPointwiseBlock, there = v < vectors ? v : first;
      const auto apply = [&](const auto&... lanes) {
#pragma unroll
        for (int i = 0; i < kLanes; ++i) result[u][i] = f(lanes[i]...);
      };
      apply(load_floats<kLanes>(x + there * kLanes)...);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t v = first + u * kPointwiseBlock;
      if (v < vectors) store_floats(y + v * kLanes, result[u]);
    }
  }
  const int64_t k = vectors * kLanes + global_thread();
  if (k < count) y[k] = from_float<T>(f(to_float(x[k])...));
}

// The first output from `x`, whose type is T each; all operands lie alike, pads and all (follow_elementwise).
// A value that lies in a slice of a flat buffer may begin anywhere: one thread per element then, whatever the
// rung.
template <class T, Rung kRung, class F, class... In>
void pointwise(const KernelArgs& args, F f, const In*... x) {
  T* y = args.out[0].as<T>();
  const int64_t count = elements(args);
  if (kRung == Rung::vector && (vector_aligned(y) && ... && vector_aligned(x))) {
    const int64_t vectors = std::max<int64_t>(count / (kVectorBytes / sizeof(T)), 1);
    launch(pointwise_vectors<T, F, In...>,
           {.grid = blocks_for(vectors, kUnroll * kPointwiseBlock), .block = kPointwiseBlock}, args.stream, f,
           count, y, x...);
  } else {
    launch(pointwise_elements<T, F, In...>,
           {.grid = blocks_for(count, kPointwiseBlock), .block = kPointwiseBlock}, args.stream, f, count, y,
           x...);
  }
}

// The rungs of one type of number.
struct Rungs {
  KernelFn plain, vector;
};

// `follow`: follow_elementwise where the formula makes zero of zeros.
inline void add_pointwise(Registry& r, const char* op, const Rungs& f32, const Rungs& bf16,
                          FollowFn follow = follow_elementwise) {
  for (const auto& [dtype, rungs] : {std::pair{Dtype::f32, f32}, std::pair{Dtype::bf16, bf16}}) {
    add_cuda_kernel(r, {.op = op, .dtype = dtype, .run = rungs.plain, .follow = follow});
    add_cuda_kernel(r, {.op = op,
                        .version = "vector",
                        .dtype = dtype,
                        .run = rungs.vector,
                        .preference = 1,
                        .follow = follow});
  }
}

}  // namespace MILLRACE_CUDA_NS
