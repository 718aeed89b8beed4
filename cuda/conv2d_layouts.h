// How convolutions on tensor cores want their operands to lie: channels at a multiple of 16 bytes, with zeros
// behind them. One rule for the libraries of a GPU and for the simulated one, so that plans for both have the
// same layouts.
#pragma once

#include "core/registry.h"

namespace millrace {

// Of x, y and their gradients the last axis, of weights both axes of channels. f32 beside bf16 (biases, sums,
// flows) lies densely.
Layouts padded_layouts(const Op& op, std::span<const Spec> in, std::span<const Spec> out);

// (O,kh,kw,I), O and I at multiples of 8 for bf16 and of 4 for f32. As a Registry::WeightLayoutFn.
Layout padded_weights(const Spec& weights);

}  // namespace millrace
