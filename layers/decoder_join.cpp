#include "layers/decoder_join.h"

#include "layers/conv2d.h"

namespace millrace {
namespace {

Shape with_channels(const Shape& s, int64_t C) { return {s[0], s[1], s[2], C}; }

// The benchmark is the finest level of MotionNet, the others reach vectors of 8, 4, 2 and 1.
struct Sizes {
  const char* name;
  Shape pixels;  // (N,H,W)
  int64_t S, U, F;
  bool benchmark = false;

  Shape of(int64_t C) const { return {pixels[0], pixels[1], pixels[2], C}; }
};

std::vector<Sizes> sizes() {
  return {{"small", {2, 3, 2}, 3, 2, 1},         {"one pixel", {1, 1, 1}, 1, 1, 2},
          {"vectors of 8", {1, 3, 5}, 16, 8, 8}, {"vectors of 4", {2, 3, 4}, 8, 4, 20},
          {"vectors of 2", {1, 2, 3}, 4, 2, 6},  {"benchmark", {4, 112, 112}, 128, 64, 20, true}};
}

}  // namespace

std::vector<Spec> DecoderJoin::infer(std::span<const Spec> in, Dtype) const {
  const Shape &skip = in[0].shape, &up = in[1].shape, &flow = in[3].shape;
  const bool shapes = skip.rank() == 4 && up.rank() == 4 && flow.rank() == 4 &&
                      up == with_channels(skip, up[3]) && flow == with_channels(skip, flow[3]) &&
                      in[2].shape == Shape{up[3]} && in[4].shape == Shape{flow[3]};
  const Dtype exact = precise(in[0].dtype);
  const bool types = is_real(in[0].dtype) && in[1].dtype == in[0].dtype && in[3].dtype == in[0].dtype &&
                     in[2].dtype == exact && in[4].dtype == exact;
  if (!shapes || !types) {
    std::string got;
    for (const Spec& s : in) got += (got.empty() ? "" : ", ") + s.to_string();
    fail(ErrorKind::runtime,
         {kName, "skip (N,H,W,S), up (N,H,W,U), b (U), flow (N,H,W,F) and b_flow (F), the biases precise",
          got, ""});
  }
  if (!(attrs.negative_slope > 0)) {
    fail(ErrorKind::runtime, {kName, "a slope above 0", std::to_string(attrs.negative_slope),
                              "its gradient is read from y's sign"});
  }
  return {{with_channels(skip, skip[3] + up[3] + flow[3]), in[0].dtype}};
}

std::vector<Value> DecoderJoin::grad(const GradArgs& a) const {
  Graph& g = a.graph;
  const DecoderJoinDxAttrs split{attrs.negative_slope, g.shape(a.in[0])[3], g.shape(a.in[1])[3]};
  const std::vector<Value> parts =
      g.add(make_op<DecoderJoinDx>(split), std::vector<Value>{a.dout[0], a.out[0]});
  std::vector<Value> din{parts[0], parts[1], {}, parts[2], {}};
  if (a.wanted[2]) din[2] = g.add1(make_op<Conv2dDb>(), {parts[1]});
  if (a.wanted[4]) din[4] = g.add1(make_op<Conv2dDb>(), {parts[2]});
  for (size_t i = 0; i < din.size(); ++i) {
    if (!a.wanted[i]) din[i] = Value{};
  }
  return din;
}

std::vector<Case> DecoderJoin::cases() {
  std::vector<Case> cases;
  for (const Sizes& s : sizes()) {
    cases.push_back({.name = s.name,
                     .op = make_op<DecoderJoin>(),
                     .in = {{s.of(s.S)},
                            {s.of(s.U), away_from_zero(.3, 1)},  // so that up + b is not near 0
                            {.shape = {s.U}, .draw = uniform(-.2, .2), .precise = true},
                            {s.of(s.F), uniform(-20, 20)},
                            {.shape = {s.F}, .precise = true}},
                     .benchmark = s.benchmark});
  }
  cases[0].op = make_op<DecoderJoin>(DecoderJoinAttrs{.25});
  return cases;
}

std::vector<Spec> DecoderJoinDx::infer(std::span<const Spec> in, Dtype) const {
  const Shape& dy = in[0].shape;
  if (!(in[0] == in[1]) || dy.rank() != 4 || attrs.skip < 1 || attrs.up < 1 ||
      dy[3] <= attrs.skip + attrs.up) {
    fail(ErrorKind::runtime, {kName, "dy like y, (N,H,W,C) with more channels than " + attributes(),
                              in[0].to_string() + " and " + in[1].to_string(), ""});
  }
  const int64_t F = dy[3] - attrs.skip - attrs.up;
  return {{with_channels(dy, attrs.skip), in[0].dtype},
          {with_channels(dy, attrs.up), in[0].dtype},
          {with_channels(dy, F), in[0].dtype}};
}

// Of y only the channels of `up` are read.
Cost DecoderJoinDx::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  double bytes = static_cast<double>(in[0].bytes() + out[1].bytes());
  for (const Spec& s : out) bytes += static_cast<double>(s.bytes());
  return {.flop = static_cast<double>(out[1].shape.count()), .bytes = bytes};
}

std::vector<Case> DecoderJoinDx::cases() {
  std::vector<Case> cases;
  for (const Sizes& s : sizes()) {
    const Shape y = s.of(s.S + s.U + s.F);
    cases.push_back({.name = s.name,
                     .op = make_op<DecoderJoinDx>(DecoderJoinDxAttrs{.1, s.S, s.U}),
                     .in = {{y}, {y, away_from_zero(.01, 1)}},
                     .benchmark = s.benchmark});
  }
  return cases;
}

}  // namespace millrace
