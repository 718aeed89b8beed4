#include "core/op.h"

#include "core/error.h"

namespace millrace {

std::vector<Value> Op::grad(const GradArgs&) const {
  fail(ErrorKind::runtime, {std::string(name()), "an op with a gradient rule", "one that has none", ""});
}

Cost Op::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost;
  for (const Spec& s : in) cost.bytes += static_cast<double>(s.bytes());
  for (const Spec& s : out) {
    cost.bytes += static_cast<double>(s.bytes());
    cost.flop += static_cast<double>(s.shape.count());
  }
  return cost;
}

}  // namespace millrace
