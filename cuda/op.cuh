// What the .cu file of an op includes.
#pragma once

#include "core/registry.h"
#include "core/tensor.h"
#include "cuda/launch.cuh"

namespace MILLRACE_CUDA_NS {

#ifdef MILLRACE_CUDA_SIM
inline constexpr const char* kDevice = "cuda-sim";
#else
inline constexpr const char* kDevice = "cuda";
#endif

inline void add_cuda_kernel(Registry& r, const char* op, KernelFn f32, const char* version = "plain") {
  r.add_kernel({.op = op, .device = kDevice, .version = version, .dtype = Dtype::f32, .run = f32});
}

}  // namespace MILLRACE_CUDA_NS
