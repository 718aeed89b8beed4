// Runs CUDA kernels on the CPU, to find their faults, not for speed.
//
// The blocks of a grid run one after another, the threads of a block one at a time as fibers that change
// places where they wait for each other: at barriers, votes, shuffles and __syncwarp. The order of blocks and
// threads is drawn from a seed: a correct kernel gives the same bits in every order.
//
// Found, each an Error(device) that names the kernel, the line that launched it, and the block and thread:
//   - a grid or block that is empty or larger than a GPU takes (1,024 threads; 48 KiB of shared memory, or
//     227 KiB where LaunchShape::large_shared asks for it; of static shared memory the words count that the
//     first block wrote);
//   - a barrier that some thread of the block leaves out, or two barriers waited at together;
//   - a vote, shuffle or __syncwarp whose mask leaves out the caller, or names a lane that has left or waits
//     elsewhere: at another word or line, or for another mask; a shuffle that reads from a lane outside of
//     the mask or of the block. Lanes that the last warp of a block does not have may be named in masks;
//   - a vector access at an address that is no multiple of the vector's size.
// Shared memory read before the block wrote it is NaN, or -1 as an integer. Out-of-bounds access is for ASan
// and UBSan to find, whose reports end with the same names. Races are found in kernels that are compiled to
// be watched: race/detector.h.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cuda/sim/runtime.h"

namespace millrace::sim {

// Decides the orders of the launches from now on; 0 is the order of the numbers of blocks and threads. At
// first 1.
void set_order_seed(uint64_t seed);
uint64_t order_seed();

// Work in the order in which it was recorded, with copies of the launches' arguments, like a CUDA graph.
class Recording {
 public:
  void replay() const;
  size_t size() const { return works_.size(); }

 private:
  friend void submit(std::function<void()> work);
  std::vector<std::function<void()>> works_;
};

// Between the two, launches by this thread are not run but recorded, and so is whatever else it submits.
void begin_recording();
Recording end_recording();
bool recording();

// Does the work, or records it: what a stream takes beside launches, such as copies.
void submit(std::function<void()> work);

// Called for each launch that the checks of its shape let through, run or recorded; may throw. Null: nothing
// is called.
using LaunchHook = void (*)(const Launch& launch);
extern LaunchHook before_launch;

// The name of a function of this program, without namespace and parameters; "unknown kernel" in a stripped
// program.
std::string kernel_name(const void* function);

}  // namespace millrace::sim
