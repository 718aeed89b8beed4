#include "layers/conv2d.h"

#include <algorithm>
#include <map>

#include "layers/leaky_relu.h"

namespace millrace {
namespace {

int64_t out_extent(int64_t extent, int64_t kernel, int64_t stride, int64_t pad) {
  return extent + 2 * pad < kernel ? 0 : (extent + 2 * pad - kernel) / stride + 1;
}

// Refuses what does not fit together; sizes as in the equations.
void check(const char* op, const Shape& x, const Shape& w, const Shape& y, int64_t stride, int64_t pad) {
  const bool fits = x.rank() == 4 && w.rank() == 4 && y.rank() == 4 && x[3] == w[3] && y[3] == w[0] &&
                    x[0] == y[0] && stride > 0 && pad >= 0 && y[1] == out_extent(x[1], w[1], stride, pad) &&
                    y[2] == out_extent(x[2], w[2], stride, pad) && y.count() > 0;
  if (fits) return;
  fail(ErrorKind::runtime, {op,
                            "x (N,H,W,I), w (O,kh,kw,I) and y (N,OH,OW,O) that fit stride " +
                                std::to_string(stride) + " and padding " + std::to_string(pad),
                            "x " + x.to_string() + ", w " + w.to_string() + ", y " + y.to_string(), ""});
}

Shape forward_shape(const Shape& x, const Shape& w, int64_t stride, int64_t pad) {
  if (x.rank() != 4 || w.rank() != 4) return {};
  return {x[0], out_extent(x[1], w[1], stride, pad), out_extent(x[2], w[2], stride, pad), w[0]};
}

double macs(const Shape& y, const Shape& w) {
  return static_cast<double>(y.count()) * static_cast<double>(w.count() / w[0]);
}

struct Sizes {
  const char* name;
  Shape x, w;
  int64_t stride, pad;
  bool benchmark = false;
};

// The kernels and strides that nets use, odd sizes, one pixel, and channel counts that no vector register
// divides; then what tiles of 64 x 64 and vectors of 4 meet.
std::vector<Sizes> sizes() {
  return {{"3x3", {2, 5, 4, 3}, {4, 3, 3, 3}, 1, 1},
          {"3x3 stride 2", {1, 7, 6, 2}, {3, 3, 3, 2}, 2, 1},
          {"4x4 stride 2", {1, 6, 4, 2}, {3, 4, 4, 2}, 2, 1},
          {"1x1 one pixel", {1, 1, 1, 5}, {2, 1, 1, 5}, 1, 0},
          {"7x7 stride 2", {1, 9, 8, 1}, {1, 7, 7, 1}, 2, 3},
          {"7x7", {1, 6, 5, 2}, {2, 7, 7, 2}, 1, 3},
          {"5x5 stride 2", {1, 8, 6, 2}, {2, 5, 5, 2}, 2, 2},
          {"wide", {1, 5, 6, 18}, {17, 3, 3, 18}, 1, 1},
          {"1x1 stride 2", {1, 5, 4, 8}, {4, 1, 1, 8}, 2, 0},
          {"vectors of 4", {1, 5, 6, 20}, {12, 3, 3, 20}, 1, 1},
          {"vectors, deconvolution", {1, 6, 8, 4}, {8, 4, 4, 4}, 2, 1},
          {"tiles of outputs", {1, 9, 8, 20}, {68, 1, 1, 20}, 1, 0},
          {"tiles of inputs", {1, 3, 3, 68}, {20, 1, 1, 68}, 1, 0},
          {"runs of pixels", {1, 18, 17, 3}, {4, 3, 3, 3}, 1, 1},
          {"3x3 benchmark", {2, 56, 56, 64}, {64, 3, 3, 64}, 1, 1, true},
          {"stride 2 benchmark", {2, 56, 56, 64}, {128, 3, 3, 64}, 2, 1, true},
          {"deconvolution benchmark", {2, 56, 56, 32}, {64, 4, 4, 32}, 2, 1, true},
          {"7x7 benchmark", {1, 56, 56, 33}, {64, 7, 7, 33}, 1, 3, true},
          {"5x5 stride 2 benchmark", {1, 56, 56, 64}, {128, 5, 5, 64}, 2, 2, true},
          {"flow head benchmark", {1, 56, 56, 132}, {20, 3, 3, 132}, 1, 1, true}};
}

// Every combination of the parts at few sizes: odd ones, a stride that leaves pixels without a tap, several
// tiles and runs of pixels; and what a net has most of.
void append_fused(std::vector<Case>& cases) {
  const std::vector<Sizes> at{{"odd", {2, 5, 4, 3}, {4, 3, 3, 3}, 1, 1},
                              {"1x1 stride 2", {1, 5, 4, 8}, {4, 1, 1, 8}, 2, 0},
                              {"tiles", {1, 18, 17, 68}, {4, 3, 3, 68}, 2, 1}};
  const auto append = [&](const Sizes& s, Conv2dDxAttrs a) {
    a.stride = s.stride;
    a.pad = s.pad;
    a.height = s.x[1];
    a.width = s.x[2];
    Case c{.name = s.name,
           .op = make_op<Conv2dDx>(a),
           .in = {{forward_shape(s.x, s.w, s.stride, s.pad)}, {s.w}},
           .benchmark = s.benchmark,
           .fused = true};
    if (a.add) {
      c.name += ", add";
      c.in.push_back({s.x});
    }
    if (a.negative_slope != 1) {
      c.name += ", leaky";
      c.in.push_back({s.x, away_from_zero(.01, 1)});
    }
    if (a.sum) {
      c.name += ", sum";
      c.parity_tolerance = 3e-5;  // sums over N H W, terms of either sign
      c.bf16_tolerance = 1e-2;    // of dx as it was rounded: 306 terms, each off by up to 1/512
    }
    cases.push_back(std::move(c));
  };
  for (const Sizes& s : at) {
    for (const bool add : {false, true}) {
      for (const double slope : {1., .1}) {
        for (const bool sum : {false, true}) {
          if (add || slope != 1 || sum) append(s, {.add = add, .negative_slope = slope, .sum = sum});
        }
      }
    }
  }
  append({"benchmark", {2, 56, 56, 64}, {128, 3, 3, 64}, 2, 1, true},
         {.add = true, .negative_slope = .1, .sum = true});
}

Case case_of(const Sizes& s, std::shared_ptr<const Op> op, std::vector<CaseInput> in) {
  return {.name = s.name, .op = std::move(op), .in = std::move(in), .benchmark = s.benchmark};
}

}  // namespace

std::vector<Spec> Conv2d::infer(std::span<const Spec> in, Dtype) const {
  const Shape y = forward_shape(in[0].shape, in[1].shape, attrs.stride, attrs.pad);
  check(kName, in[0].shape, in[1].shape, y, attrs.stride, attrs.pad);
  if (in.size() == 3 && !(in[2].shape == Shape{y[3]})) {
    fail(ErrorKind::runtime,
         {kName, "a bias of shape " + Shape{y[3]}.to_string(), in[2].shape.to_string(), ""});
  }
  return {{y, attrs.precise ? precise(in[0].dtype) : in[0].dtype}};
}

std::shared_ptr<const Op> Conv2d::with_precise_output() const {
  Conv2dAttrs precisely = attrs;
  precisely.precise = true;
  return make_op<Conv2d>(precisely);
}

std::vector<Value> Conv2d::grad(const GradArgs& a) const {
  if (attrs.negative_slope != 1 || attrs.precise) {
    fail(ErrorKind::runtime, {kName, "a convolution before fusion and the precision pass", attributes(), ""});
  }
  Graph& g = a.graph;
  const Shape x = g.shape(a.in[0]), w = g.shape(a.in[1]);
  std::vector<Value> din(a.in.size());
  if (a.wanted[0]) {
    din[0] =
        g.add1(make_op<Conv2dDx>(Conv2dDxAttrs{attrs.stride, attrs.pad, x[1], x[2]}), {a.dout[0], a.in[1]});
  }
  if (a.wanted[1]) {
    din[1] =
        g.add1(make_op<Conv2dDw>(Conv2dDwAttrs{attrs.stride, attrs.pad, w[1], w[2]}), {a.in[0], a.dout[0]});
  }
  if (a.in.size() == 3 && a.wanted[2]) din[2] = g.add1(make_op<Conv2dDb>(), {a.dout[0]});
  return din;
}

Cost Conv2d::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 2 * macs(out[0].shape, in[1].shape);
  return cost;
}

std::shared_ptr<const Op> Conv2d::absorb(const Op& next) const {
  const auto* activation = dynamic_cast<const LeakyRelu*>(&next);
  if (!activation || attrs.negative_slope != 1) return nullptr;
  Conv2dAttrs joined = attrs;
  joined.negative_slope = activation->attrs.slope;
  return make_op<Conv2d>(joined);
}

std::vector<Spec> Conv2dDx::infer(std::span<const Spec> in, Dtype) const {
  const Shape &dy = in[0].shape, &w = in[1].shape;
  const Shape dx = dy.rank() == 4 && w.rank() == 4 ? Shape{dy[0], attrs.height, attrs.width, w[3]} : Shape{};
  check(kName, dx, w, dy, attrs.stride, attrs.pad);
  const Spec like{dx, in[0].dtype};
  bool fits = in.size() == 2u + (attrs.add ? 1 : 0) + (attrs.negative_slope != 1 ? 1 : 0);
  for (const Spec& s : in.subspan(std::min<size_t>(2, in.size()))) fits = fits && s == like;
  if (!fits || !(attrs.negative_slope >= 0)) {
    std::string got;
    for (const Spec& s : in) got += (got.empty() ? "" : ", ") + s.to_string();
    fail(ErrorKind::runtime,
         {kName,
          "dy, w, then an addend where add=1 and y where negative_slope is not 1 (but at least 0), "
          "either like dx, " +
              like.to_string(),
          got + " at " + attributes(), ""});
  }
  if (!attrs.sum) return {like};
  return {like, {{dx[3]}, precise(like.dtype)}};
}

// conv2d_dx is linear in both operands, and conv2d is its adjoint.
std::vector<Value> Conv2dDx::grad(const GradArgs& a) const {
  if (attrs.fused()) fail(ErrorKind::runtime, {kName, "a data gradient before fusion", attributes(), ""});
  Graph& g = a.graph;
  const Shape w = g.shape(a.in[1]);
  const Conv2dAttrs forward{.stride = attrs.stride, .pad = attrs.pad};
  std::vector<Value> din(2);
  if (a.wanted[0]) din[0] = g.add1(make_op<Conv2d>(forward), {a.dout[0], a.in[1]});
  if (a.wanted[1]) {
    din[1] =
        g.add1(make_op<Conv2dDw>(Conv2dDwAttrs{attrs.stride, attrs.pad, w[1], w[2]}), {a.dout[0], a.in[0]});
  }
  return din;
}

Cost Conv2dDx::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 2 * macs(in[0].shape, in[1].shape);
  const int each = (attrs.add ? 1 : 0) + (attrs.negative_slope != 1 ? 1 : 0) + (attrs.sum ? 1 : 0);
  cost.flop += each * static_cast<double>(out[0].shape.count());
  return cost;
}

std::vector<Spec> Conv2dDw::infer(std::span<const Spec> in, Dtype) const {
  const Shape &x = in[0].shape, &dy = in[1].shape;
  const Shape dw =
      x.rank() == 4 && dy.rank() == 4 ? Shape{dy[3], attrs.kernel_height, attrs.kernel_width, x[3]} : Shape{};
  check(kName, x, dw, dy, attrs.stride, attrs.pad);
  return {{dw, precise(in[0].dtype)}};
}

Cost Conv2dDw::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 2 * macs(in[1].shape, out[0].shape);
  return cost;
}

std::vector<Spec> Conv2dDb::infer(std::span<const Spec> in, Dtype) const {
  if (in[0].shape.rank() != 4) fail(ErrorKind::runtime, {kName, "dy (N,H,W,O)", in[0].to_string(), ""});
  return {{{in[0].shape[3]}, precise(in[0].dtype)}};
}

Value deconv2d(Graph& g, Value x, Value w, Conv2dAttrs attrs) {
  const Shape s = g.shape(x), k = g.shape(w);
  const auto grown = [&](int64_t extent, int64_t kernel) {
    return (extent - 1) * attrs.stride - 2 * attrs.pad + kernel;
  };
  return g.add1(
      make_op<Conv2dDx>(Conv2dDxAttrs{attrs.stride, attrs.pad, grown(s[1], k[1]), grown(s[2], k[2])}),
      {x, w});
}

std::vector<Case> Conv2d::cases() {
  std::vector<Case> cases;
  for (const Sizes& s : sizes()) {
    const Conv2dAttrs attrs{.stride = s.stride, .pad = s.pad};
    cases.push_back(case_of(s, make_op<Conv2d>(attrs), {{s.x}, {s.w}, {.shape = {s.w[0]}, .precise = true}}));
  }
  cases.push_back({.name = "without bias",
                   .op = make_op<Conv2d>(Conv2dAttrs{.stride = 1, .pad = 1}),
                   .in = {{{1, 4, 4, 2}}, {{3, 3, 3, 2}}}});
  cases.push_back({.name = "leaky",
                   .op = make_op<Conv2d>(Conv2dAttrs{.stride = 1, .pad = 1, .negative_slope = .1}),
                   .in = {{{1, 4, 5, 4}}, {{8, 3, 3, 4}}, {.shape = {8}, .precise = true}},
                   .fused = true});
  cases.push_back({.name = "leaky benchmark",
                   .op = make_op<Conv2d>(Conv2dAttrs{.stride = 1, .pad = 1, .negative_slope = .1}),
                   .in = {{{2, 28, 28, 32}}, {{48, 3, 3, 32}}, {.shape = {48}, .precise = true}},
                   .benchmark = true});
  for (const auto& [name, O] :
       std::map<std::string, int64_t>{{"precise", 5}, {"precise, vectors of 4", 20}}) {
    cases.push_back({.name = name,
                     .op = make_op<Conv2d>(Conv2dAttrs{.stride = 1, .pad = 1, .precise = true}),
                     .in = {{{2, 4, 5, 8}}, {{O, 3, 3, 8}}, {.shape = {O}, .precise = true}},
                     .fused = true});
  }
  return cases;
}

std::vector<Case> Conv2dDx::cases() {
  std::vector<Case> cases;
  for (const Sizes& s : sizes()) {
    const Conv2dDxAttrs attrs{s.stride, s.pad, s.x[1], s.x[2]};
    cases.push_back(
        case_of(s, make_op<Conv2dDx>(attrs), {{forward_shape(s.x, s.w, s.stride, s.pad)}, {s.w}}));
  }
  append_fused(cases);
  return cases;
}

std::vector<Case> Conv2dDw::cases() {
  std::vector<Case> cases;
  for (const Sizes& s : sizes()) {
    const Conv2dDwAttrs attrs{s.stride, s.pad, s.w[1], s.w[2]};
    cases.push_back(
        case_of(s, make_op<Conv2dDw>(attrs), {{s.x}, {forward_shape(s.x, s.w, s.stride, s.pad)}}));
    cases.back().parity_tolerance = 3e-5;  // sums over N OH OW, up to 6,272 terms of either sign
  }
  return cases;
}

std::vector<Case> Conv2dDb::cases() {
  return {{.name = "small", .op = make_op<Conv2dDb>(), .in = {{{2, 3, 4, 5}}}},
          {.name = "one pixel", .op = make_op<Conv2dDb>(), .in = {{{1, 1, 1, 3}}}},
          {.name = "several blocks", .op = make_op<Conv2dDb>(), .in = {{{1, 27, 40, 36}}}},
          {.name = "vectors of 8", .op = make_op<Conv2dDb>(), .in = {{{1, 25, 23, 72}}}},
          {.name = "vectors of 2", .op = make_op<Conv2dDb>(), .in = {{{2, 3, 4, 6}}}},
          {.name = "benchmark", .op = make_op<Conv2dDb>(), .in = {{{2, 112, 112, 64}}}, .benchmark = true}};
}

}  // namespace millrace
