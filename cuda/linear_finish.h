// What follows a product of matrices that a library computed, where its own epilogues do not fit.
#pragma once

#include "core/tensor.h"

namespace millrace {

// y = max(s, negative_slope s), s = sums + bias: sums (N,O) f32, which may be y's own memory; bias (O) f32 or
// null; y (N,O) f32 or bf16, rounded once.
struct LinearFinish {
  const float* sums;
  const float* bias;
  double negative_slope;
  Tensor y;
  void* stream;
};
using LinearFinishFn = void (*)(const LinearFinish&);

namespace cuda {
void linear_finish(const LinearFinish& f);  // cuda/linear.cu
}
namespace cuda_sim {
void linear_finish(const LinearFinish& f);
}
namespace cuda_race {
void linear_finish(const LinearFinish& f);
}

}  // namespace millrace
