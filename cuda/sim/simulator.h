// Runs CUDA kernels on the CPU, to find their faults, not for speed.
//
// The blocks of a grid run one after another, the threads of a block one at a time as fibers that change
// places at barriers. The order of blocks and threads is drawn from a seed: a correct kernel gives the same
// bits in every order.
//
// Found, each an Error(device) that names the kernel, the line that launched it, and the block and thread:
//   - a grid or block that is empty or larger than a GPU takes (1,024 threads; 48 KiB of shared memory, or
//     227 KiB where LaunchShape::large_shared asks for it; of static shared memory the words count that the
//     first block wrote);
//   - a barrier that some thread of the block leaves out, or two barriers waited at together;
//   - a vector access at an address that is no multiple of the vector's size.
// Shared memory read before the block wrote it is NaN, or -1 as an integer. Out-of-bounds access is for ASan
// to find.
#pragma once

#include <cstdint>
#include <string>

namespace millrace::cuda_sim::sim {

// Decides the orders of the launches from now on; 0 is the order of the numbers of blocks and threads. At
// first 1.
void set_order_seed(uint64_t seed);
uint64_t order_seed();

// The name of a function of this program, without namespace and parameters; "unknown kernel" in a stripped
// program.
std::string kernel_name(const void* function);

}  // namespace millrace::cuda_sim::sim
