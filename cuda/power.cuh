// Powers on the device, and the penalty that the losses are made of.
#pragma once

#include "cuda/launch.cuh"
#include "losses/charbonnier_attrs.h"

namespace MILLRACE_CUDA_NS {

// base^exponent for normal base > 0 and |exponent| <= 1, as 2^(exponent log2(base)): two instructions of the
// special function unit (MUFU.LG2 and MUFU.EX2, 16 lanes a clock where plain arithmetic does 128) and half a
// dozen round them, where powf takes about ninety for its last bits. The logarithm may be off by 2^-22 of
// itself (near 1 by 2^-22), which the power takes over as that much of its own exponent: the relative error
// stays below 3e-7 (1 + |log2 of the result|), 5e-6 for the losses' sharpest slope, 10^-6 to the -0.7.
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
