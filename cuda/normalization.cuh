// From bytes of frames to what nets see of them: shared by normalize_image.cu and prepare_clip.cu.
#pragma once

#include "cuda/launch.cuh"
#include "layers/normalize_image.h"

namespace MILLRACE_CUDA_NS {

// The attributes as the device computes with them.
struct Normalization {
  float mean[3];
  float scale;

  explicit Normalization(const NormalizeImageAttrs& a)
      : mean{static_cast<float>(a.mean_b), static_cast<float>(a.mean_g), static_cast<float>(a.mean_r)},
        scale(static_cast<float>(a.scale)) {}

  // Chosen, not indexed: registers have no addresses.
  __device__ __forceinline__ float mean_of(int colour) const {
    return colour == 0 ? mean[0] : colour == 1 ? mean[1] : mean[2];
  }
  __device__ __forceinline__ float operator()(uint8_t x, float mean_of_colour) const {
    return (static_cast<float>(x) - mean_of_colour) * scale;
  }
};

}  // namespace MILLRACE_CUDA_NS
