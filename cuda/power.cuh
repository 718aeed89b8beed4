// Powers on the device, and the penalty that the losses are made of.
#pragma once

#include "cuda/launch.cuh"
#include "losses/charbonnier_attrs.h"

namespace MILLRACE_CUDA_NS {

// base^exponent for normal base > 0, as 2^(exponent log2(base)): two instructions of the special function
// unit (MUFU.LG2, MUFU.EX2) and a few round them, where powf takes over a hundred for its last bits. The
// logarithm is off by at most 2^-22 of itself (near 1: 2^-22), and the power by as much of its own exponent:
// the relative error stays below 3e-7 (1 + |log2 of the result|), 4e-6 for the slope of the losses' sharpest
// bend, 10^-6 to the -0.6 or -0.7.
__device__ __forceinline__ float power(float base, float exponent) { return __powf(base, exponent); }

// ((beta z)^2 + epsilon^2)^exponent: rho(z) with exponent alpha; with alpha - 1, times 2 alpha beta^2 z, its
// slope.
struct Penalty {
  float beta, epsilon2, exponent;

  Penalty(const CharbonnierAttrs& a, double exponent_)
      : beta(static_cast<float>(a.beta)),
        epsilon2(static_cast<float>(a.epsilon * a.epsilon)),
        exponent(static_cast<float>(exponent_)) {}

  __device__ float operator()(float z) const {
    const float scaled = beta * z;
    return power(scaled * scaled + epsilon2, exponent);
  }
};

}  // namespace MILLRACE_CUDA_NS
