// How the operands of a convolution lie for tensor cores: pixels, and the inputs and outputs of weights, end
// at a multiple of 16 bytes, which is 8 channels in bf16 and 4 in f32. Else cuDNN copies them in each call
// (NVIDIA's convolution guide; for 212 channels at 112 x 112 that is 87 MB). What cuDNN is asked for, and
// what the simulation asks for in its place.
#pragma once

#include <span>

#include "core/op.h"
#include "core/registry.h"

namespace millrace {

constexpr int64_t channel_multiple(Dtype dtype) { return 16 / size_of(dtype); }

// Of weights (O,kh,kw,I), in the State too (Registry::weight_layout). Outputs are added behind the others.
Layout padded_weights(const Spec& weights);
// Of a node of conv2d, conv2d_dx, conv2d_dw or conv2d_db. Biases, their gradients and the f32 result of a
// convolution, which is a flow, are dense.
Layouts padded_conv2d(const Op& op, std::span<const Spec> in, std::span<const Spec> out);

}  // namespace millrace
