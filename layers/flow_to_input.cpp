#include "layers/flow_to_input.h"

namespace millrace {
namespace {

Shape doubled(const Shape& x) { return {x[0], 2 * x[1], 2 * x[2], x[3]}; }

// Inside the clip and outside, at least .05 from it.
Draw around_clip(double clip) {
  return [clip](Random& r) {
    const double inside = r.uniform(-.95, .95) * clip, outside = r.uniform(1.05, 1.5) * clip;
    const int64_t choice = r.integer(0, 3);
    return choice == 0 ? outside : choice == 1 ? -outside : inside;
  };
}

// Flow whose z is at least .1 from where rounding goes the other way, for the default constants.
double near_integers(Random& r) {
  return (static_cast<double>(r.integer(1, 254)) + r.uniform(-.4, .4)) / 127.5 - 1;
}

const FlowToInputAttrs kOther{.clip = .5, .scale = 30, .offset = 20, .shift = -3};
const FlowToInputAttrs kQuantised{.quantise = true}, kReplicated{.replicate = true};

struct Example {
  const char* name;
  Shape x;
  FlowToInputAttrs attrs = {};
  Draw draw = around_clip(1);
};

// Pixels whose channels are vectors of 4, of 2, and of neither.
std::vector<Example> examples() {
  return {{"small", {2, 3, 2, 4}},
          {"pairs", {1, 3, 5, 2}},
          {"one number", {1, 1, 1, 1}},
          {"odd", {1, 5, 2, 3}},
          {"other constants", {1, 2, 3, 4}, kOther, around_clip(kOther.clip)},
          {"border continued", {2, 3, 4, 4}, kReplicated},
          {"border continued, odd", {1, 5, 2, 3}, kReplicated},
          {"border continued, one number", {1, 1, 1, 1}, kReplicated},
          {"border continued, pairs, several strips", {1, 9, 7, 2}, kReplicated},
          {"several blocks", {2, 9, 7, 20}}};
}

constexpr int64_t kBatch = 4;
const Shape kBenchmark{kBatch, 112, 112, 20};

}  // namespace

void detail::check_flow_to_input(const char* op, const FlowToInputAttrs& attrs, const Spec& x, Dtype real) {
  if (x.shape.rank() != 4 || x.dtype != precise(real))
    fail(ErrorKind::runtime,
         {op, "flow (N,H,W,C) in " + std::string(name_of(precise(real))), x.to_string(), ""});
  if (!(attrs.clip > 0)) fail(ErrorKind::runtime, {op, "a clip above 0", std::to_string(attrs.clip), ""});
}

std::vector<Spec> FlowToInput::infer(std::span<const Spec> in, Dtype real) const {
  detail::check_flow_to_input(kName, attrs, in[0], real);
  return {{doubled(in[0].shape), real}};
}

std::vector<Value> FlowToInput::grad(const GradArgs& a) const {
  return {a.graph.add1(make_op<FlowToInputDx>(attrs), {a.dout[0], a.in[0]})};
}

Cost FlowToInput::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 9.0 * static_cast<double>(out[0].shape.count());  // three interpolations and the shift
  return cost;
}

std::vector<Case> FlowToInput::cases() {
  std::vector<Case> cases;
  for (const Example& e : examples())
    cases.push_back({.name = e.name,
                     .op = make_op<FlowToInput>(e.attrs),
                     .in = {{.shape = e.x, .draw = e.draw, .precise = true}}});
  cases.push_back({.name = "quantised",
                   .op = make_op<FlowToInput>(kQuantised),
                   .in = {{.shape = {1, 3, 4, 6}, .draw = near_integers, .precise = true}},
                   .gradient_tolerance = 1e9});  // differences of a staircase are 0, its gradient is not
  cases.push_back({.name = "benchmark",
                   .op = make_op<FlowToInput>(),
                   .in = {{.shape = kBenchmark, .draw = around_clip(1), .precise = true}},
                   .benchmark = true});
  return cases;
}

std::vector<Spec> FlowToInputDx::infer(std::span<const Spec> in, Dtype real) const {
  detail::check_flow_to_input(kName, attrs, in[1], real);
  const Spec dy{doubled(in[1].shape), real};
  if (!(in[0] == dy)) fail(ErrorKind::runtime, {kName, "dy " + dy.to_string(), in[0].to_string(), ""});
  return {in[1]};
}

Cost FlowToInputDx::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 36.0 * static_cast<double>(out[0].shape.count());  // 16 taps, by rows and then columns
  return cost;
}

std::vector<Case> FlowToInputDx::cases() {
  std::vector<Case> cases;
  const auto add = [&](const Example& e, bool benchmark) {
    cases.push_back({.name = e.name,
                     .op = make_op<FlowToInputDx>(e.attrs),
                     .in = {{doubled(e.x)}, {.shape = e.x, .draw = e.draw, .precise = true}},
                     .benchmark = benchmark});
  };
  for (const Example& e : examples()) add(e, false);
  add({"quantised", {1, 3, 4, 6}, kQuantised}, false);
  add({"benchmark", kBenchmark}, true);
  return cases;
}

}  // namespace millrace
