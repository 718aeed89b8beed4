// Finds races: two threads access a byte, one of them writes it, and nothing orders the two.
//
// Threads of one block are ordered by the barriers between their accesses, lanes of one warp also by the
// __syncwarp that both took part in (shuffles and votes order no memory). Threads of different blocks are
// never ordered within a launch; shared memory is each block's own. Atomics do not race with each other, but
// they do with plain accesses. It does not know the order that __threadfence and a counter make: sums over
// blocks are a second launch (cuda/reduce.cuh).
//
// The order in which fibers run does not matter: what is compared is what the accesses were ordered by.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "core/error.h"
#include "cuda/sim/race/shadow.h"
#include "cuda/sim/watcher.h"

namespace millrace::sim {

enum class AccessKind { read, write, atomic };

class Detector final : public Watcher {
 public:
  Detector();

  void begin_launch(const void* dynamic_shared, size_t bytes) override;
  void begin_block() override;
  void end_block() override;
  void enter(int thread, const StackRange& stack) override;
  void leave() override { inside_ = false; }
  void block_met() override { ++epoch_; }
  void warp_met(int warp, unsigned mask) override;

  // The running thread accesses memory, in code that returns to `code`.
  void access(const void* address, size_t bytes, AccessKind kind, const void* code) {
    const bool is_position = address >= &position && address < &position + 1;
    if (inside_ && !stack_.holds(address) && !is_position)
      check(reinterpret_cast<uintptr_t>(address), bytes, kind, code);
  }

 private:
  static constexpr size_t kMaxThreads = 1024;
  struct Range {
    uintptr_t begin = 0, end = 0;
    bool holds(const void* p) const { return holds(reinterpret_cast<uintptr_t>(p)); }
    bool holds(uintptr_t p) const { return p >= begin && p < end; }
  };

  void check(uintptr_t address, size_t bytes, AccessKind kind, const void* code);
  bool unordered(const Access& before, const Access& now, bool shared) const;
  void remember(std::array<Access, 2>& kept, const Access& now, bool shared) const;
  void report(const Access& before, bool before_wrote, const Access& now, AccessKind kind, uintptr_t address,
              size_t bytes);

  Shadow shadow_;
  Range stack_, dynamic_shared_;
  bool inside_ = false;
  uint32_t block_ = 0;
  uint32_t thread_ = 0;
  uint32_t epoch_ = 0;
  std::vector<uint32_t> clock_;                        // of each thread
  std::vector<std::array<uint32_t, kWarpSize>> seen_;  // the clocks of its warp that a thread knows
  std::optional<Mismatch> found_;
};

}  // namespace millrace::sim
