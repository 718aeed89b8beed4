// The one way to start a kernel, and what kernels may use beside CUDA's own words.
//
// A .cu file is compiled by nvcc for the GPU, and by g++ for the simulation on the CPU (cuda/sim). It keeps
// to:
//   - everything lives in `namespace MILLRACE_CUDA_NS`, because both builds may end in one program;
//   - kernels lie in an unnamed namespace: names are the file's own, and g++ can keep __shared__ variables of
//     templates in their section only with internal linkage. A device helper in a header takes shared memory
//     as a pointer;
//   - dynamic shared memory is dynamic_shared<T>(), vector access is load_vec and store_vec (cuda/vec.cuh);
//   - no inline PTX, no cub, no cooperative groups, no other NVIDIA header; no block waits for another;
//   - kernels are started by launch() below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "core/error.h"

#ifdef MILLRACE_CUDA_SIM
#ifdef MILLRACE_CUDA_RACE  // compiled to look for races
#define MILLRACE_CUDA_NS millrace::cuda_race
#else
#define MILLRACE_CUDA_NS millrace::cuda_sim
#endif
#include "cuda/sim/device.h"
#else
#define MILLRACE_CUDA_NS millrace::cuda
#include <cuda_runtime.h>
#endif

namespace MILLRACE_CUDA_NS {

struct LaunchShape {
  dim3 grid;                  // blocks
  dim3 block;                 // threads of a block, at most 1,024
  size_t shared_bytes = 0;    // dynamic shared memory of a block
  bool large_shared = false;  // allow 227 KiB of shared memory (sm_90; 163 KiB on sm_80) in place of 48 KiB
  std::source_location where =
      std::source_location::current();  // named by errors: the line that made the shape
};

// The number of blocks that give `count` elements one thread each. Throws where a grid cannot be that long.
inline unsigned blocks_for(int64_t count, int block) {
  constexpr int64_t kMaxBlocks = 2147483647;
  const int64_t blocks = count < 1 ? 0 : (count - 1) / block + 1;
  if (blocks < 1 || blocks > kMaxBlocks)
    fail(ErrorKind::device,
         {.where = "blocks_for",
          .expected = "1 to " + std::to_string(kMaxBlocks) + " blocks of " + std::to_string(block),
          .got = std::to_string(count) + " elements",
          .hint = ""});
  return static_cast<unsigned>(blocks);
}

// This thread's number in a one-dimensional grid.
__device__ __forceinline__ int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

#ifdef MILLRACE_CUDA_SIM

// Runs kernel(args...) for every thread of the grid, and returns when all are done. The stream may be one of
// sim::SimDriver, which then first does what was queued there. Throws Error(device) for whatever
// cuda/sim/simulator.h finds wrong. Between sim::begin_recording and sim::end_recording the launch is
// recorded in place of being run.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), const LaunchShape& shape, void* stream, Args&&... args) {
  static_assert((!std::is_reference_v<Params> && ...), "a kernel takes its arguments by value");
  std::tuple<Params...> copies(std::forward<Args>(args)...);
  sim::submit({.kernel = reinterpret_cast<const void*>(kernel),
               .grid = shape.grid,
               .block = shape.block,
               .shared_bytes = shape.shared_bytes,
               .large_shared = shape.large_shared,
               .stream = stream,
               .where = shape.where,
               .thread = [kernel, copies = std::move(copies)] { std::apply(kernel, copies); }});
}

#else

namespace detail {

inline void check(cudaError_t status, const char* call, const void* kernel, const LaunchShape& shape) {
  if (status == cudaSuccess) return;
  const char* name = nullptr;
  if (cudaFuncGetName(&name, kernel) != cudaSuccess || name == nullptr) name = "unknown kernel";
  const auto extents = [](dim3 d) {
    return std::to_string(d.x) + "x" + std::to_string(d.y) + "x" + std::to_string(d.z);
  };
  fail(ErrorKind::device, {.where = std::string(name) + " at " + shape.where.file_name() + ":" +
                                    std::to_string(shape.where.line()),
                           .expected = std::string(call) + " to succeed for grid " + extents(shape.grid) +
                                       ", block " + extents(shape.block) + ", " +
                                       std::to_string(shape.shared_bytes) + " bytes of dynamic shared memory",
                           .got = std::string(cudaGetErrorName(status)) + ": " + cudaGetErrorString(status),
                           .hint = ""});
}

}  // namespace detail

// Queues kernel(args...) on the stream (a cudaStream_t; null is the default stream). Throws Error(device)
// when the launch is refused; a fault while the kernel runs is reported by a later call.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), const LaunchShape& shape, void* stream, Args&&... args) {
  static_assert((!std::is_reference_v<Params> && ...), "a kernel takes its arguments by value");
  const void* function = reinterpret_cast<const void*>(kernel);
  if (shape.large_shared)
    detail::check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(shape.shared_bytes)),
                  "cudaFuncSetAttribute", function, shape);
  std::tuple<Params...> copies(std::forward<Args>(args)...);
  std::apply(
      [&](auto&... copy) {
        void* pointers[] = {&copy..., nullptr};
        detail::check(cudaLaunchKernel(function, shape.grid, shape.block, pointers, shape.shared_bytes,
                                       static_cast<cudaStream_t>(stream)),
                      "cudaLaunchKernel", function, shape);
      },
      copies);
}

// The block's dynamic shared memory, LaunchShape::shared_bytes long, aligned for any vector.
template <class T> __device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char millrace_dynamic_shared[];
  return reinterpret_cast<T*>(millrace_dynamic_shared);
}

#endif

}  // namespace MILLRACE_CUDA_NS
