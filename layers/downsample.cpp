#include "layers/downsample.h"

#include <algorithm>
#include <cmath>

namespace millrace {

double downsample_scale(int64_t in, int64_t out) {
  if (out == 1) return static_cast<double>(std::max<int64_t>(in - 1, 1));
  return static_cast<double>(in - 1) / static_cast<double>(out - 1);
}

std::vector<DownsampleTaps> downsample_taps(int64_t in, int64_t out) {
  const double scale = downsample_scale(in, out);
  const auto reach = static_cast<int64_t>(std::ceil(scale));
  std::vector<DownsampleTaps> taps;
  for (int64_t i = 0; i < out; ++i) {
    // The product before the division: integer sources, the last above all, are then hit exactly.
    const double src = out == 1 ? static_cast<double>(in - 1) / 2
                                : static_cast<double>(i * (in - 1)) / static_cast<double>(out - 1);
    const auto centre = static_cast<int64_t>(std::round(src));
    const int64_t last = std::min(centre + reach, in - 1);
    DownsampleTaps tap{.first = std::max<int64_t>(centre - reach, 0), .weights = {}};
    double sum = 0;
    for (int64_t p = tap.first; p <= last; ++p) {
      tap.weights.push_back(std::max(0.0, 1 - std::abs(static_cast<double>(p) - src) / scale));
      sum += tap.weights.back();
    }
    for (double& weight : tap.weights) weight /= sum;
    taps.push_back(std::move(tap));
  }
  return taps;
}

std::vector<Spec> Downsample::infer(std::span<const Spec> in, Dtype real) const {
  const Shape& x = in[0].shape;
  if (x.rank() != 4 || in[0].dtype != precise(real)) {
    fail(ErrorKind::runtime, {kName, "images (N,H,W,C)", in[0].to_string(), ""});
  }
  if (attrs.height < 1 || attrs.width < 1 || attrs.height > x[1] || attrs.width > x[2]) {
    fail(ErrorKind::runtime, {kName, "a size from 1x1 to that of " + x.to_string(), attributes(), ""});
  }
  return {{{x[0], attrs.height, attrs.width, x[3]}, precise(real)}};
}

Cost Downsample::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 16.0 * static_cast<double>(in[0].shape.count());  // two tents overlap in each axis: 2 2 taps
  return cost;
}

std::vector<Case> Downsample::cases() {
  auto make = [](const char* name, Shape x, DownsampleAttrs attrs, bool benchmark = false) {
    return Case{.name = name, .op = make_op<Downsample>(attrs), .in = {{x}}, .benchmark = benchmark};
  };
  return {make("small", {2, 9, 12, 3}, {.height = 4, .width = 6}),
          make("one pixel of one", {1, 1, 1, 2}, {.height = 1, .width = 1}),
          make("one pixel of many", {1, 5, 4, 2}, {.height = 1, .width = 1}),
          make("same size", {1, 3, 5, 1}, {.height = 3, .width = 5}),
          make("one row", {2, 1, 11, 2}, {.height = 1, .width = 3}),
          make("a tenth", {2, 33, 40, 9}, {.height = 3, .width = 5}),
          make("many columns", {1, 5, 64, 3}, {.height = 3, .width = 50}),
          make("many rows", {2, 41, 7, 2}, {.height = 19, .width = 3}),
          make("benchmark", {4, 224, 224, 33}, {.height = 112, .width = 112}, true),
          make("benchmark, a sixteenth", {4, 224, 224, 33}, {.height = 14, .width = 14}, true)};
}

}  // namespace millrace
