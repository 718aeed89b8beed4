// What the optimizers share. They work on flat vectors of P elements in which every parameter begins at a
// multiple of 64 and the gaps hold zeros, so that one table says how each block of 64 is treated.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/flat_layout.h"
#include "core/hd.h"
#include "core/op.h"

namespace millrace {

// What is done to the gradient before the optimizer sees it, in Caffe's order (sgd_solver.cpp, ApplyUpdate):
// clip by the norm of the whole accumulated gradient, divide by the number of micro-batches, add the L2
// penalty.
//
//   g' = gradient_scale * min(1, clip / norm) * g + weight_decay * decay_mult * p
struct GradientAttrs {
  double gradient_scale = 1;  // 1 / number of micro-batches
  double weight_decay = 0;
  // Largest norm of the accumulated gradient; 0: any. The norm is over all parameters; Caffe's leaves out
  // those with a learning-rate factor of 0, whose gradients it does not compute.
  double clip = 0;

  template <class V> void visit(V v) const {
    v("gradient_scale", gradient_scale);
    v("weight_decay", weight_decay);
    v("clip", clip);
  }
};

// The same in the numbers of a kernel.
template <class T> struct GradientStep {
  T gradient_scale, weight_decay, clip;

  explicit GradientStep(const GradientAttrs& a)
      : gradient_scale(static_cast<T>(a.gradient_scale)),
        weight_decay(static_cast<T>(a.weight_decay)),
        clip(static_cast<T>(a.clip)) {}

  // The factor of g above. A norm that is no number is not clipped: such a step is skipped altogether.
  MILLRACE_HD T scale(T norm) const {
    return clip > 0 && norm > clip ? gradient_scale * (clip / norm) : gradient_scale;
  }
};

// How one block of 64 moves: by `rate`, which is that of the step times lr_mult, along scale g + decay p.
template <class T> struct BlockStep { T scale, rate, decay; };

// A step whose gradient or loss is not finite changes nothing.
template <class T> inline constexpr T kLargest = std::numeric_limits<T>::max();
template <class T> MILLRACE_HD bool usable(T norm, T loss) {
  return norm <= kLargest<T> && loss <= kLargest<T> && loss >= -kLargest<T>;  // false for NaN
}

namespace detail {
// Throws unless the first `flat` inputs are (P), then multipliers (P/64,2), then three scalars. All keep full
// precision; only the gradient, input 1, may be bf16 in a graph of bf16.
void check_flat(const char* op, std::span<const Spec> in, size_t flat, Dtype real);
// Inputs of a test case in that order: `flat`, multipliers of 0 to 2, rate, norm, loss. The gradient keeps
// full precision when `precise`.
std::vector<CaseInput> flat_inputs(int64_t P, std::vector<Draw> flat, double norm, bool precise = false);
}  // namespace detail

}  // namespace millrace
