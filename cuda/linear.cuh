// What the files of fully connected layers share.
#pragma once

#include "cuda/channels.cuh"
#include "layers/leaky_relu.h"
#include "layers/linear.h"

namespace MILLRACE_CUDA_NS {

// Behind a sum: the bias, where there is one, and the leaky ReLU.
struct LinearEnd {
  const float* bias;
  LeakyReluFormula<float> leaky;

  __device__ float operator()(float sum, int64_t o) const { return leaky(bias ? sum + bias[o] : sum); }
};

inline LinearEnd end_of(const KernelArgs& args) {
  return {args.in.size() == 3 ? args.in[2].as<const float>() : nullptr,
          {static_cast<float>(args.attrs<Linear>().negative_slope)}};
}

}  // namespace MILLRACE_CUDA_NS
