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
// the host's help. Source: sgd_solver.cpp of Caffe.
#pragma once

#include "core/graph.h"
#include "core/registry.h"
#include "optim/flat.h"

namespace millrace {

struct SgdAttrs {
  double momentum = .9;
  GradientAttrs gradient{};

  template <class V> void visit(V v) const {
    v("momentum", momentum);
    gradient.visit(v);
  }
};

// The step of one parameter: the formula of all kernels.
template <class T> struct SgdStep {
  T momentum, scale, weight_decay, rate;

  MILLRACE_HD SgdStep(const SgdAttrs& a, T rate_now, T norm)
      : momentum(static_cast<T>(a.momentum)),
        scale(static_cast<T>(a.gradient.scale(norm))),
        weight_decay(static_cast<T>(a.gradient.weight_decay)),
        rate(rate_now) {}

  // `step` is rate * lr_mult, `decay` weight_decay * decay_mult.
  MILLRACE_HD void operator()(T step, T decay, T g, T& p, T& v) const {
    v = momentum * v + step * (scale * g + decay * p);
    p -= v;
  }
};

struct Sgd : OpBase<Sgd, SgdAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "sgd";  // (p, g, v, multipliers, rate, norm, loss) -> (p', v')

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    detail::check_flat(kName, in, 3, real);
    return {in[0], in[2]};
  }
  bool has_gradient() const override { return false; }  // the end of a step: nothing is derived through it
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}, {.out = 1, .in = 2}}; }
  static std::vector<Case> cases();
};

inline void register_sgd(Registry& r) { r.add_op<Sgd>(); }

}  // namespace millrace
