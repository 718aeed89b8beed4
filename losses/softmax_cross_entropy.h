// Softmax cross-entropy: how surprised the net is by the true classes, on average.
//
//   loss = 1/M  sum over rows n of  log(sum over c of exp(x(n,c))) - x(n,label(n))
//
// Logits x (..,C), whose last axis holds the classes; labels, i32, one per row (N); loss (1); count (1) = M,
// the number of rows that count: all but those labelled `ignore`, at least 1. In full precision also for bf16
// logits. Each row is computed with its largest logit subtracted, which changes nothing but keeps exp in
// range.
// Source: Caffe's softmax_loss_layer.cpp with its normalization VALID. A label that is no class makes the
// loss and its row of the gradient NaN, so that it shows; nothing outside x is read.
#pragma once

#include <limits>

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct SoftmaxCrossEntropyAttrs {
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::min();  // no i32 is equal
  int64_t ignore = kNone;

  template <class V> void visit(V v) const { v("ignore", ignore); }
};

namespace detail {
// Checks logits and labels.
void check_softmax(const char* op, const Spec& x, const Spec& labels, Dtype real);
}  // namespace detail

struct SoftmaxCrossEntropy : OpBase<SoftmaxCrossEntropy, SoftmaxCrossEntropyAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "softmax_cross_entropy";  // (x, labels) -> (loss, count)

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    detail::check_softmax(kName, in[0], in[1], real);
    return {{{1}, precise(real)}, {{1}, precise(real)}};
  }
  std::vector<Value> grad(const GradArgs& a) const override;
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

// dx(n,c) = dloss / M (softmax(x)(n,c) - [c = label(n)]); 0 in rows that do not count.
struct SoftmaxCrossEntropyDx : OpBase<SoftmaxCrossEntropyDx, SoftmaxCrossEntropyAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "softmax_cross_entropy_dx";  // (dloss, count, x, labels) -> dx

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    detail::check_softmax(kName, in[2], in[3], real);
    const Spec scalar{{1}, precise(real)};
    if (!(in[0] == scalar) || !(in[1] == scalar))
      fail(ErrorKind::runtime, {kName, "dloss and count, " + scalar.to_string(),
                                in[0].to_string() + " and " + in[1].to_string(), ""});
    return {in[2]};
  }
  bool has_gradient() const override { return false; }  // first derivatives only
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

struct CrossEntropy {
  Value loss, count;
};
inline CrossEntropy softmax_cross_entropy(Graph& g, Value x, Value labels,
                                          SoftmaxCrossEntropyAttrs attrs = {}) {
  const Value in[] = {x, labels};
  const std::vector<Value> out = g.add(make_op<SoftmaxCrossEntropy>(attrs), in);
  return {out[0], out[1]};
}

inline void register_softmax_cross_entropy(Registry& r) {
  r.add_op<SoftmaxCrossEntropy>();
  r.add_op<SoftmaxCrossEntropyDx>();
}

}  // namespace millrace
