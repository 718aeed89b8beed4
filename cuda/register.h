// The CUDA kernels of all ops and the devices that run them, for programs that link the library that has
// them.
#pragma once

namespace millrace {

class Registry;

namespace cuda_sim {                        // millrace_cuda_sim
void register_kernels(Registry& registry);  // generated from the .cu files' names
void register_device(Registry& registry);   // "cuda-sim"
// Both, and convolutions by the CPU.
void register_backend(Registry& registry);
}  // namespace cuda_sim
namespace cuda_race {  // millrace_cuda_race
void register_kernels(Registry& registry);
}
namespace cuda {  // millrace_cuda
void register_kernels(Registry& registry);
void register_backend(Registry& registry);  // kernels, and the device "cuda"
}  // namespace cuda

}  // namespace millrace
