// What the .cu file of an op includes.
#pragma once

#include "core/registry.h"
#include "core/tensor.h"
#include "cuda/launch.cuh"

namespace MILLRACE_CUDA_NS {

#if defined(MILLRACE_CUDA_RACE)
inline constexpr const char* kDevice = "cuda-race";
#elif defined(MILLRACE_CUDA_SIM)
inline constexpr const char* kDevice = "cuda-sim";
#else
inline constexpr const char* kDevice = "cuda";
#endif

// One rung of an op's ladder. Of those that can do a node the one with the highest preference is taken; the
// plain one has 0.
struct CudaKernel {
  const char* op;
  const char* version = "plain";
  Dtype dtype = Dtype::f32;
  KernelFn run;
  PrepareFn prepare = nullptr;
  int preference = 0;
  bool repeatable = true;  // false: only on request (Kernel::repeatable)
  FollowFn follow = nullptr;
};

inline void add_cuda_kernel(Registry& r, const CudaKernel& k) {
  r.add_kernel({.op = k.op,
                .device = kDevice,
                .version = k.version,
                .dtype = k.dtype,
                .run = k.run,
                .prepare = k.prepare,
                .follow = k.follow,
                .preference = k.preference,
                .repeatable = k.repeatable});
}

}  // namespace MILLRACE_CUDA_NS
