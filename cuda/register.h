// The CUDA kernels of all ops, for programs that link the library that has them: generated from the .cu
// files' names.
#pragma once

namespace millrace {

class Registry;

namespace cuda_sim {  // millrace_cuda_sim
void register_kernels(Registry& registry);
}
namespace cuda {  // millrace_cuda
void register_kernels(Registry& registry);
}

}  // namespace millrace
