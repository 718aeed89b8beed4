// The threads of one block: fibers that run one at a time and wait for each other where CUDA's words say so.
#pragma once

#include <exception>
#include <memory>
#include <vector>

#include "cuda/sim/fiber.h"
#include "cuda/sim/runtime.h"
#include "cuda/sim/shuffler.h"

namespace millrace::sim {

class Block {
 public:
  ~Block();

  // The launch that the next blocks belong to.
  void begin(const Launch& launch, Shuffler& shuffler);
  // Runs all threads of the block at position.block. Rethrows what one of them threw.
  void run();

  // Called by the running thread.
  int meet_block(const Meeting& meeting, bool predicate);
  // Gives the bits that lane `source` brought; a vote gives the lanes that brought other than 0. Only kSync
  // orders accesses to memory.
  static constexpr int kVote = -1, kSync = -2;
  uint64_t meet_warp(const Meeting& meeting, unsigned mask, uint64_t bits, int source);
  int lane() const { return running_ % kWarpSize; }

 private:
  enum class State : unsigned char { runs, waits_for_block, waits_for_warp, done };

  struct Thread {
    dim3 index;
    State state = State::runs;
    Fiber* fiber = nullptr;  // set while it waits, or is to go on
    Meeting meeting{};       // where it waits, and:
    unsigned mask = 0;       // for whom
    uint64_t bits = 0;       // what it brings, then what it gets
    int source = 0;          // the lane that it wants the bits of, kVote or kSync
  };
  struct Warp {
    unsigned present = 0;  // lanes that the block has
    unsigned waiting = 0;  // lanes that wait for others of the warp
  };

  class Away;

  Thread& thread_at(int warp, int lane) { return threads_[static_cast<size_t>(warp * kWarpSize + lane)]; }
  bool all_met(int warp, const Thread& last) const;
  void give_bits(int warp, unsigned mask);
  void release_block();
  void explain_stall();
  void fault_of_warp();
  void fault_of_block();
  std::string describe_wait(const Thread& thread) const;
  void suspend();
  void select(int thread);
  int take_ready();
  void run_thread(int thread);
  void work(Fiber& self);
  Fiber& idle_fiber();
  void cancel();

  const Launch* launch_ = nullptr;
  Shuffler* shuffler_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<int> ready_;  // threads that can run: from next_ready_ on
  size_t next_ready_ = 0;
  int taken_ = -1;  // a thread taken from them that has not run yet
  int unfinished_ = 0;
  int agreed_ = 0;  // threads whose predicate was true at the last meeting of the block
  int running_ = 0;
  Fiber* running_fiber_ = nullptr;
  bool cancelling_ = false;
  std::exception_ptr failure_;

  // A fiber runs thread after thread until one of them waits: a kernel whose threads never wait needs a
  // single fiber.
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  bool closing_ = false;
};

}  // namespace millrace::sim
