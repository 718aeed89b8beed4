#include "losses/softmax_cross_entropy.h"

namespace millrace {
namespace {

struct SoftmaxCase {
  const char* name;
  Shape x;
  int64_t ignore = SoftmaxCrossEntropyAttrs::kNone;
  double range = 3;  // of the logits
  bool benchmark = false;
};

// make(case, x, labels)
template <class F> std::vector<Case> softmax_cases(const F& make) {
  const SoftmaxCase list[] = {{"small", {3, 5}},
                              {"one row, one class", {1, 1}},
                              {"UCF101", {5, 101}},
                              {"pixels, some ignored", {2, 3, 2, 7}, -1},
                              {"some of class 0 ignored", {9, 3}, 0},
                              {"a whole warp and one", {4, 33}},
                              {"several thread blocks", {300, 6}},
                              {"large logits", {4, 40}, SoftmaxCrossEntropyAttrs::kNone, 500},
                              {"benchmark", {256, 1000}, SoftmaxCrossEntropyAttrs::kNone, 3, true}};
  std::vector<Case> cases;
  for (const SoftmaxCase& c : list) {
    const int64_t C = c.x[c.x.rank() - 1], rows = c.x.count() / C;
    const Draw label = [lowest = c.ignore < 0 && c.ignore != SoftmaxCrossEntropyAttrs::kNone ? c.ignore : 0,
                        C](Random& r) { return static_cast<double>(r.integer(lowest, C - 1)); };
    cases.push_back(
        make(c, CaseInput{c.x, uniform(-c.range, c.range)}, CaseInput{{rows}, label, Dtype::i32}));
  }
  return cases;
}

}  // namespace

void detail::check_softmax(const char* op, const Spec& x, const Spec& labels, Dtype real) {
  const int rank = x.shape.rank();
  const bool real_x = x.dtype == real || x.dtype == precise(real);
  if (rank < 2 || !real_x || x.shape.count() == 0)
    fail(ErrorKind::runtime, {op, "logits (..,C) of " + std::string(name_of(real)), x.to_string(), ""});
  const Spec expected{{x.shape.count() / x.shape[rank - 1]}, Dtype::i32};
  if (!(labels == expected))
    fail(ErrorKind::runtime, {op, "a label for each row, " + expected.to_string(), labels.to_string(), ""});
}

std::vector<Value> SoftmaxCrossEntropy::grad(const GradArgs& a) const {
  if (!a.dout[0]) return {Value{}, Value{}};  // L depends on the count only, which is constant
  return {a.graph.add1(make_op<SoftmaxCrossEntropyDx>(attrs), {a.dout[0], a.out[1], a.in[0], a.in[1]}),
          Value{}};
}

Cost SoftmaxCrossEntropy::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 3.0 * static_cast<double>(in[0].shape.count());
  return cost;
}

Cost SoftmaxCrossEntropyDx::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  Cost cost = Op::cost(in, out);
  cost.flop = 5.0 * static_cast<double>(in[2].shape.count());
  return cost;
}

std::vector<Case> SoftmaxCrossEntropy::cases() {
  return softmax_cases([](const SoftmaxCase& c, const CaseInput& x, const CaseInput& labels) {
    return Case{.name = c.name,
                .op = make_op<SoftmaxCrossEntropy>(SoftmaxCrossEntropyAttrs{c.ignore}),
                .in = {x, labels},
                .benchmark = c.benchmark};
  });
}

std::vector<Case> SoftmaxCrossEntropyDx::cases() {
  return softmax_cases([](const SoftmaxCase& c, const CaseInput& x, const CaseInput& labels) {
    const CaseInput dloss{.shape = {1}, .precise = true};
    const CaseInput count{.shape = {1}, .draw = uniform(1, 9), .precise = true};
    return Case{.name = c.name,
                .op = make_op<SoftmaxCrossEntropyDx>(SoftmaxCrossEntropyAttrs{c.ignore}),
                .in = {dloss, count, x, labels},
                .benchmark = c.benchmark};
  });
}

}  // namespace millrace
