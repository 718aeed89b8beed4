#include "layers/warp.h"

namespace millrace {

void detail::check_warp(const char* op, const Spec& image, const Spec& flow) {
  const Shape &x = image.shape, &f = flow.shape;
  const bool fits = x.rank() == 4 && f.rank() == 4 && x[0] == f[0] && x[1] == f[1] && x[2] == f[2] &&
                    f[3] > 0 && f[3] % 2 == 0 && x[3] % (f[3] / 2) == 0 && image.dtype == flow.dtype;
  if (!fits) {
    fail(ErrorKind::runtime,
         {op, "image (N,H,W,K*C) and flow (N,H,W,2K)", image.to_string() + " and " + flow.to_string(), ""});
  }
}

// One flow (1,H,W,2) that takes every pixel to one point, a quarter right of and below the middle. Elements
// are drawn in order, u before v.
static Draw to_one_point(int64_t H, int64_t W) {
  return [H, W, element = int64_t{0}](Random&) mutable {
    const int64_t pixel = element / 2, is_v = element % 2;
    element = (element + 1) % (2 * H * W);
    const int64_t from = is_v ? pixel / W : pixel % W, to = (is_v ? H : W) / 2;
    return static_cast<double>(to - from) + .25;
  };
}

// Flow that lies at least .05 from integers, reaches out of the image, and one case of each odd size.
std::vector<Case> detail::warp_cases(const std::function<Case(Shape, Shape, Draw)>& make) {
  auto named = [&](const char* name, Shape image, Shape flow, Draw draw, bool benchmark = false) {
    Case c = make(image, flow, std::move(draw));
    c.name = name;
    c.benchmark = benchmark;
    if (benchmark) c.parity_tolerance = 1e-4;  // a column near 100 has an error of 8e-6 px in float
    return c;
  };
  return {named("small", {2, 4, 5, 6}, {2, 4, 5, 4}, between_integers(-2, 2, .05)),
          named("one pixel", {1, 1, 1, 3}, {1, 1, 1, 2}, between_integers(-1, 1, .05)),
          named("one row", {1, 1, 7, 2}, {1, 1, 7, 2}, between_integers(-3, 3, .05)),
          named("far outside", {1, 3, 3, 1}, {1, 3, 3, 2}, between_integers(-9, 9, .05)),
          named("four colours", {1, 3, 4, 8}, {1, 3, 4, 4}, between_integers(-2, 2, .05)),
          named("five colours", {1, 3, 4, 5}, {1, 3, 4, 2}, between_integers(-2, 2, .05)),
          named("to one point", {1, 4, 15, 3}, {1, 4, 15, 2}, to_one_point(4, 15)),
          named("several blocks", {2, 9, 17, 6}, {2, 9, 17, 4}, between_integers(-3, 3, .05)),
          named("benchmark", {4, 112, 112, 30}, {4, 112, 112, 20}, uniform(-8, 8), true)};
}

std::vector<Value> Warp::grad(const GradArgs& a) const {
  std::vector<Value> din(2);
  if (a.wanted[0]) din[0] = a.graph.add1(make_op<WarpDimage>(), {a.dout[0], a.in[1]});
  if (a.wanted[1]) din[1] = a.graph.add1(make_op<WarpDflow>(), {a.dout[0], a.in[0], a.in[1]});
  return din;
}

Cost Warp::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop =
      7.0 * static_cast<double>(out[0].shape.count());  // three interpolations, the weights shared by colours
  return cost;
}

Cost WarpDflow::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 12.0 * static_cast<double>(in[0].shape.count());
  return cost;
}

std::vector<Case> Warp::cases() {
  return detail::warp_cases([](Shape image, Shape flow, Draw draw) {
    return Case{.name = {}, .op = make_op<Warp>(), .in = {{image}, {flow, draw}}};
  });
}

std::vector<Case> WarpDflow::cases() {
  return detail::warp_cases([](Shape image, Shape flow, Draw draw) {
    return Case{.name = {}, .op = make_op<WarpDflow>(), .in = {{image}, {image}, {flow, draw}}};
  });
}

std::vector<Case> WarpDimage::cases() {
  return detail::warp_cases([](Shape image, Shape flow, Draw draw) {
    return Case{.name = {}, .op = make_op<WarpDimage>(), .in = {{image}, {flow, draw}}};
  });
}

}  // namespace millrace
