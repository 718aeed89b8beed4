#include "optim/sgd.h"

namespace millrace {

Cost Sgd::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 7.0 * static_cast<double>(in[0].shape.count());
  return cost;
}

std::vector<Case> Sgd::cases() {
  auto make = [](const char* name, int64_t P, double norm, SgdAttrs attrs, bool precise = false) {
    return Case{
        .name = name,
        .op = make_op<Sgd>(attrs),
        .in = detail::flat_inputs(P, {uniform(-1, 1), uniform(-1, 1), uniform(-1, 1)}, norm, precise)};
  };
  const double infinite = std::numeric_limits<double>::infinity();
  const GradientAttrs full{.gradient_scale = .25, .weight_decay = .1, .clip = 2};
  Case benchmark = make("benchmark", int64_t{1} << 22, 1, {});
  benchmark.benchmark = true;
  return {make("one block", 64, 1, {}),
          make("clipped", 448, 5, {.gradient = full}),
          make("within the clip", 448, 1.5, {.momentum = .5, .gradient = full}),
          make("skipped", 192, infinite, {.gradient = full}),
          make("several thread blocks", 1088, 1, {}),
          make("copy", 1088, 5, {.gradient = full, .copy = true}),
          make("copy, precise gradient", 448, 1, {.copy = true}, true),
          make("copy of what is skipped", 128, infinite, {.copy = true}),
          benchmark};
}

}  // namespace millrace
