#include "cuda/conv2d_layouts.h"

#include "layers/conv2d.h"

namespace millrace {
namespace {

constexpr int64_t kBytes = 16;  // what one access of a tensor core's copy moves

int64_t multiple_of(Dtype dtype) { return kBytes / size_of(dtype); }

// The type is that of the products, which a sum of f32 does not tell.
Layout padded_weights(const Shape& w, Dtype dtype) {
  if (w.rank() != 4 || (dtype != Dtype::f32 && dtype != Dtype::bf16)) return {};
  Layout layout{.order = {0, 1, 2, 3}, .blocks = {}};
  for (const int axis : {0, 3}) {
    if (w[axis] % multiple_of(dtype) != 0) layout.pads.push_back({axis, multiple_of(dtype)});
  }
  return layout.pads.empty() ? Layout{} : layout;
}

}  // namespace

Layouts padded_layouts(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  const Dtype dtype = kernel_dtype(in, out);
  const std::string_view name = op.name();
  const auto all = [&](std::span<const Spec> specs) {
    std::vector<Layout> layouts;
    for (const Spec& s : specs) {
      const bool padded = s.shape.rank() == 4 && s.dtype == dtype;
      layouts.push_back(padded ? channel_padded(s.shape, multiple_of(dtype)) : Layout{});
    }
    return layouts;
  };
  Layouts layouts{all(in), all(out)};
  if (name == Conv2dDw::kName)
    layouts.out[0] = padded_weights(out[0].shape, dtype);
  else if (name != Conv2dDb::kName)
    layouts.in[1] = padded_weights(in[1].shape, dtype);
  return layouts;
}

Layout padded_weights(const Spec& weights) { return padded_weights(weights.shape, weights.dtype); }

}  // namespace millrace
