// Stochastic gradient descent with momentum in Caffe's form, on flat buffers of P parameters.
//
//   g' = gradient_scale * min(1, clip / norm) * g + weight_decay * decay_mult * p     (L2)
//   v' = momentum v + rate * lr_mult * g'
//   p' = p - v'
//
// The learning rate is part of the velocity, unlike PyTorch's: after a drop of the rate the old velocity
// still carries the higher one. p, g, v (P); multipliers (P/64,2): lr_mult and decay_mult of each block of 64
// elements; rate (1): the learning rate; norm (1): the Euclidean norm of g; loss (1). Where lr_mult is 0, p
// and v stay as they are. So they do everywhere when norm or loss is not finite: the step is skipped without
// the host's help. With `copy` there is a third output, p' in the type of activations: the weights that a
// bf16 net reads. Source: sgd_solver.cpp of Caffe.
#pragma once

#include "core/graph.h"
#include "core/registry.h"
#include "optim/flat.h"

namespace millrace {

struct SgdAttrs {
  double momentum = .9;
  GradientAttrs gradient{};
  bool copy = false;

  template <class V> void visit(V v) const {
    v("momentum", momentum);
    gradient.visit(v);
    v("copy", copy);
  }
};

// The step of one parameter: the formula of all kernels.
template <class T> struct SgdStep {
  GradientStep<T> gradient;
  T momentum;

  explicit SgdStep(const SgdAttrs& a) : gradient(a.gradient), momentum(static_cast<T>(a.momentum)) {}

  MILLRACE_HD void operator()(const BlockStep<T>& here, T g, T& p, T& v) const {
    v = momentum * v + here.rate * (here.scale * g + here.decay * p);
    p -= v;
  }
};

struct Sgd : OpBase<Sgd, SgdAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName =
      "sgd";  // (p, g, v, multipliers, rate, norm, loss) -> (p', v' [, copy])

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    detail::check_flat(kName, in, 3, real);
    std::vector<Spec> out = {in[0], in[2]};
    if (attrs.copy) out.push_back({in[0].shape, real});
    return out;
  }
  std::shared_ptr<const Op> with_copy() const override {
    SgdAttrs copying = attrs;
    copying.copy = true;
    return make_op<Sgd>(copying);
  }
  bool has_gradient() const override { return false; }  // the end of a step: nothing is derived through it
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}, {.out = 1, .in = 2}}; }
  static std::vector<Case> cases();
};

inline void register_sgd(Registry& r) { r.add_op<Sgd>(); }

}  // namespace millrace
