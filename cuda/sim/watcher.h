// What a detector of races is told of the blocks that run.
#pragma once

#include "cuda/sim/fiber.h"
#include "cuda/sim/runtime.h"

namespace millrace::sim {

class Watcher {
 public:
  virtual void begin_launch(const void* dynamic_shared, size_t bytes) = 0;
  virtual void begin_block() = 0;  // the one at position.block
  virtual void end_block() = 0;    // throws what was found
  // What is done between the two is done by this thread of the block, by the kernel's code.
  virtual void enter(int thread, const StackRange& stack) = 0;
  virtual void leave() = 0;
  // All threads of the block met, or these lanes of a warp at a __syncwarp.
  virtual void block_met() = 0;
  virtual void warp_met(int warp, unsigned mask) = 0;

 protected:
  ~Watcher() = default;
};

// Null in a program whose kernels are not compiled to be watched.
extern Watcher* watcher;

}  // namespace millrace::sim
