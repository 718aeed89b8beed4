// What launch() and CUDA's words (cuda/sim/device.h) call in the simulator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>

namespace millrace::sim {

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Where number `index` is among `extent`, counted along x first.
inline dim3 unravel(int64_t index, const dim3& extent) {
  const auto rest = static_cast<uint64_t>(index) / extent.x;
  return {static_cast<unsigned>(index % extent.x), static_cast<unsigned>(rest % extent.y),
          static_cast<unsigned>(rest / extent.y)};
}

inline constexpr int kWarpSize = 32;

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
  void* stream;  // of the SimDriver; null: none
  std::source_location where;
  std::function<void()> thread;  // runs one thread of the kernel; owns the arguments
};

// Runs every thread of every block (see simulator.h for what it checks), or records the launch.
void submit(const Launch& launch);

// A place where threads wait for each other: the word, for instance "__syncthreads", and its line.
struct Meeting {
  const char* word;
  std::source_location where;
};

// All threads of the block meet. Gives the number of those whose predicate was true.
int meet_block(const Meeting& meeting, bool predicate = true);

// The lanes of the mask meet. A vote gives the lanes whose predicate was true, a bit for each.
unsigned vote(const Meeting& meeting, unsigned mask, bool predicate);
// The bits that lane `source` of the warp brought.
uint64_t shuffle(const Meeting& meeting, unsigned mask, uint64_t bits, int source);
// As a vote, and what the lanes wrote before is seen by the others after.
void sync_warp(const Meeting& meeting, unsigned mask);
// The running thread's lane. Faults unless a width of shuffles is a power of two, at most 32.
int lane_of_shuffle(const Meeting& meeting, int width);

void* dynamic_shared_memory();
// Faults unless the address is a multiple of `bytes`.
void check_vector(const void* address, size_t bytes);

// Of code that is compiled to be watched: it reads and writes this in one go, called from `code`.
void note_atomic(const void* address, size_t bytes, const void* code);

}  // namespace millrace::sim
