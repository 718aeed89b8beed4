// What the kernels of conv2d_dx do behind their sums (Conv2dDxAttrs): dx = f(y) (addend + sum), in float.
#pragma once

#include "cuda/column_sums.cuh"
#include "cuda/numbers.cuh"
#include "layers/conv2d.h"
#include "layers/leaky_relu.h"

namespace MILLRACE_CUDA_NS {

template <class T> struct DxEpilogue {
  const T *addend, *y;  // like dx; null: there is none
  LeakyReluDxFormula<float> leaky_dx;

  explicit DxEpilogue(const KernelArgs& args)
      : addend(of(args).add ? args.in[2].as<const T>() : nullptr),
        y(of(args).negative_slope != 1 ? args.in.back().as<const T>() : nullptr),
        leaky_dx{static_cast<float>(of(args).negative_slope)} {}

  __device__ float operator()(float sum, int64_t element) const {
    if (addend) sum = to_float(addend[element]) + sum;
    return y ? leaky_dx(sum, to_float(y[element])) : sum;
  }

 private:
  static const Conv2dDxAttrs& of(const KernelArgs& args) { return args.attrs<Conv2dDx>(); }
};

// A second launch, which reads dx again: in order, so that db is the same in each run.
inline void sum_dx(const KernelArgs& args) {
  if (args.attrs<Conv2dDx>().sum) sum_columns(args.out[0], args.out[1], args.workspace, args.stream);
}
inline Prepared prepare_dx_sum(const Op& op, std::span<const Spec> out) {
  const bool sum = static_cast<const Conv2dDx&>(op).attrs.sum;
  return {.state = {}, .workspace_bytes = sum ? column_sums_workspace(out[0].shape) : 0};
}

}  // namespace MILLRACE_CUDA_NS
