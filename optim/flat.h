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

  // The factor of g above. A norm that is no number is not clipped: such a step is skipped altogether.
  MILLRACE_HD double scale(double norm) const {
    return clip > 0 && norm > clip ? gradient_scale * (clip / norm) : gradient_scale;
  }
};

// A step whose gradient or loss is not finite changes nothing.
template <class T> MILLRACE_HD bool usable(T norm, T loss) {
  const T largest = std::numeric_limits<T>::max();
  return norm <= largest && loss <= largest && loss >= -largest;  // false for NaN
}

namespace detail {
// Throws unless the first `flat` inputs are (P), then multipliers (P/64,2), then three scalars.
void check_flat(const char* op, std::span<const Spec> in, size_t flat, Dtype real);
// Inputs of a test case in that order: `flat`, multipliers of 0 to 2, rate, norm, loss.
std::vector<CaseInput> flat_inputs(int64_t P, std::vector<Draw> flat, double norm);
}  // namespace detail

}  // namespace millrace
