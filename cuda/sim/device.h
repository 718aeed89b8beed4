// CUDA's words for g++: with these a .cu file is C++, and runs on the CPU by cuda/sim/simulator.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <source_location>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// One copy for all blocks, which run one after another; poisoned before each (all bytes 0xFF: NaN).
#define __shared__ static __attribute__((section("sim_shared")))

namespace millrace::cuda_sim {

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace sim {

// Where the running thread is. The simulator writes it before it lets a thread run.
struct Position {
  dim3 thread, block, block_extent, grid_extent;
};
extern Position position;

struct Launch {
  const void* kernel;  // the function, for its name
  dim3 grid, block;
  size_t shared_bytes;
  bool large_shared;
  std::source_location where;
  std::function<void()> thread;  // runs one thread of the kernel
};

// Runs every thread of every block; see simulator.h for what it checks.
void run(const Launch& launch);

void barrier(const std::source_location& where);
void* dynamic_shared_memory();
// Faults unless the address is a multiple of `bytes`.
void check_vector(const void* address, size_t bytes);

}  // namespace sim

inline constexpr const dim3& threadIdx = sim::position.thread;
inline constexpr const dim3& blockIdx = sim::position.block;
inline constexpr const dim3& blockDim = sim::position.block_extent;
inline constexpr const dim3& gridDim = sim::position.grid_extent;

inline void __syncthreads(const std::source_location& where = std::source_location::current()) {
  sim::barrier(where);
}

template <class T> T* dynamic_shared() { return static_cast<T*>(sim::dynamic_shared_memory()); }

using std::max;
using std::min;

}  // namespace millrace::cuda_sim
