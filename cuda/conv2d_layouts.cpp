#include "cuda/conv2d_layouts.h"

#include "layers/conv2d.h"

namespace millrace {
namespace {

Layout activations(const Spec& s) { return channel_padded(s.shape, channel_multiple(s.dtype)); }

// Weights and their gradient end where the activations of the node do, whatever their own type is.
Layout weights(const Shape& shape, Dtype activations) {
  const int64_t multiple = channel_multiple(activations);
  Layout layout{{0, 1, 2, 3}, {}, {}};
  for (const int axis : {0, 3}) {
    if (shape[axis] % multiple != 0) layout.pads.push_back({axis, multiple});
  }
  return layout.pads.empty() ? Layout{} : layout;
}

}  // namespace

Layout padded_weights(const Spec& w) { return weights(w.shape, w.dtype); }

Layouts padded_conv2d(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  Layouts layouts;
  for (const Spec& s : in) layouts.in.push_back(s.shape.rank() == 4 ? activations(s) : Layout{});
  for (const Spec& s : out) layouts.out.push_back(s.shape.rank() == 4 ? activations(s) : Layout{});
  if (op.name() == Conv2d::kName || op.name() == Conv2dDx::kName)
    layouts.in[1] = weights(in[1].shape, in[1].dtype);
  if (op.name() == Conv2dDw::kName) layouts.out[0] = weights(out[0].shape, in[0].dtype);
  if (op.name() == Conv2d::kName && out[0].dtype == Dtype::f32) layouts.out[0] = {};
  return layouts;
}

}  // namespace millrace
