#include "layers/slice_channels.h"

namespace millrace {

std::vector<Spec> SliceChannels::infer(std::span<const Spec> in, Dtype) const {
  const Shape& x = in[0].shape;
  if (x.rank() != 4 || attrs.begin < 0 || attrs.count < 1 || attrs.begin > x[3] - attrs.count) {
    fail(ErrorKind::runtime, {kName, "(N,H,W,C) with the channels of " + attributes(), x.to_string(), ""});
  }
  return {{{x[0], x[1], x[2], attrs.count}, in[0].dtype}};
}

std::vector<Value> SliceChannels::grad(const GradArgs& a) const {
  const int64_t total = a.graph.shape(a.in[0])[3];
  return {embed_channels(a.graph, a.dout[0], {.begin = attrs.begin, .total = total})};
}

Cost SliceChannels::cost(std::span<const Spec>, std::span<const Spec> out) const {
  return {.flop = 0, .bytes = 2.0 * static_cast<double>(out[0].bytes())};
}

std::vector<Case> SliceChannels::cases() {
  auto make = [](const char* name, Shape x, SliceChannelsAttrs attrs, bool benchmark = false) {
    return Case{.name = name, .op = make_op<SliceChannels>(attrs), .in = {{x}}, .benchmark = benchmark};
  };
  return {make("small", {2, 3, 4, 5}, {.begin = 1, .count = 3}),
          make("all of one", {1, 1, 1, 1}, {.begin = 0, .count = 1}),
          make("last", {1, 2, 3, 4}, {.begin = 3, .count = 1}),
          make("vectors of 8", {1, 3, 5, 40}, {.begin = 8, .count = 16}),
          make("vectors of 4", {1, 3, 5, 20}, {.begin = 4, .count = 12}),
          make("vectors of 2", {2, 2, 3, 6}, {.begin = 2, .count = 4}),
          make("benchmark", {4, 112, 112, 33}, {.begin = 3, .count = 30}, true)};
}

std::vector<Spec> EmbedChannels::infer(std::span<const Spec> in, Dtype) const {
  const Shape& x = in[0].shape;
  if (x.rank() != 4 || attrs.begin < 0 || attrs.begin > attrs.total - x[3]) {
    fail(ErrorKind::runtime, {kName, "(N,H,W,C) that fits " + attributes(), x.to_string(), ""});
  }
  return {{{x[0], x[1], x[2], attrs.total}, in[0].dtype}};
}

std::vector<Value> EmbedChannels::grad(const GradArgs& a) const {
  const int64_t count = a.graph.shape(a.in[0])[3];
  return {slice_channels(a.graph, a.dout[0], {.begin = attrs.begin, .count = count})};
}

std::vector<Case> EmbedChannels::cases() {
  auto make = [](const char* name, Shape x, EmbedChannelsAttrs attrs, bool benchmark = false) {
    return Case{.name = name, .op = make_op<EmbedChannels>(attrs), .in = {{x}}, .benchmark = benchmark};
  };
  return {make("small", {2, 3, 4, 3}, {.begin = 1, .total = 5}),
          make("all of one", {1, 1, 1, 1}, {.begin = 0, .total = 1}),
          make("last", {1, 2, 3, 1}, {.begin = 3, .total = 4}),
          make("vectors of 8", {1, 3, 5, 16}, {.begin = 8, .total = 40}),
          make("vectors of 4", {1, 3, 5, 12}, {.begin = 4, .total = 20}),
          make("vectors of 2", {2, 2, 3, 4}, {.begin = 2, .total = 6}),
          make("benchmark", {4, 112, 112, 30}, {.begin = 3, .total = 33}, true)};
}

}  // namespace millrace
