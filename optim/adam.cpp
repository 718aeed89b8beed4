#include "optim/adam.h"

namespace millrace {

double adam_rate(const AdamAttrs& attrs, double learning_rate, int64_t t) {
  const auto updates = static_cast<double>(t);
  return learning_rate * std::sqrt(1 - std::pow(attrs.beta2, updates)) / (1 - std::pow(attrs.beta1, updates));
}

Cost Adam::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 14.0 * static_cast<double>(in[0].shape.count());
  return cost;
}

std::vector<Case> Adam::cases() {
  auto make = [](const char* name, int64_t P, double norm, AdamAttrs attrs, bool precise = false) {
    return Case{.name = name,
                .op = make_op<Adam>(attrs),
                .in = detail::flat_inputs(
                    P, {uniform(-1, 1), uniform(-1, 1), uniform(-1, 1), uniform(.01, 1)}, norm, precise)};
  };
  const double infinite = std::numeric_limits<double>::infinity();
  const GradientAttrs full{.gradient_scale = .25, .weight_decay = .1, .clip = 2};
  Case benchmark = make("benchmark", int64_t{1} << 22, 1, {});
  benchmark.benchmark = true;
  return {make("one block", 64, 1, {}),
          make("clipped", 448, 5, {.gradient = full}),
          make("within the clip", 448, 1.5, {.beta1 = .5, .beta2 = .9, .epsilon = .1, .gradient = full}),
          make("skipped", 192, infinite, {.gradient = full}),
          make("several thread blocks", 1088, 1, {}),
          make("copy", 1088, 5, {.gradient = full, .copy = true}),
          make("copy, precise gradient", 448, 1, {.copy = true}, true),
          make("copy of what is skipped", 128, infinite, {.copy = true}),
          benchmark};
}

}  // namespace millrace
