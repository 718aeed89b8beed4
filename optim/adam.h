// Adam in Caffe's form, on flat buffers of P parameters.
//
//   g' = gradient_scale * min(1, clip / norm) * g + weight_decay * decay_mult * p     (L2, not decoupled)
//   m' = beta1 m + (1 - beta1) g'
//   v' = beta2 v + (1 - beta2) g'^2
//   p' = p - rate * lr_mult * m' / (sqrt(v') + epsilon),  rate = lr sqrt(1 - beta2^t) / (1 - beta1^t)
//
// p, g, m, v (P); multipliers (P/64,2): lr_mult and decay_mult of each block of 64 elements; rate (1): see
// adam_rate; norm (1): the Euclidean norm of g; loss (1). Where lr_mult is 0, p, m and v stay as they are.
// So they do everywhere when norm or loss is not finite: the step is skipped without the host's help.
// With `copy` there is a fourth output, p' in the type of activations: the weights that a bf16 net reads.
// Source: adam_solver.cpp of Caffe. Kingma & Ba (2015) give the same with epsilon inside the corrected root
// (their section 2 names both).
#pragma once

#include "core/graph.h"
#include "core/registry.h"
#include "optim/flat.h"

namespace millrace {

struct AdamAttrs {
  double beta1 = .9;
  double beta2 = .999;
  double epsilon = 1e-8;
  GradientAttrs gradient{};
  bool copy = false;

  template <class V> void visit(V v) const {
    v("beta1", beta1);
    v("beta2", beta2);
    v("epsilon", epsilon);
    gradient.visit(v);
    v("copy", copy);
  }
};

// The step of one parameter: the formula of all kernels.
template <class T> struct AdamStep {
  GradientStep<T> gradient;
  T beta1, rest1, beta2, rest2, epsilon;

  explicit AdamStep(const AdamAttrs& a)
      : gradient(a.gradient),
        beta1(static_cast<T>(a.beta1)),
        rest1(static_cast<T>(1 - a.beta1)),
        beta2(static_cast<T>(a.beta2)),
        rest2(static_cast<T>(1 - a.beta2)),
        epsilon(static_cast<T>(a.epsilon)) {}

  MILLRACE_HD void operator()(const BlockStep<T>& here, T g, T& p, T& m, T& v) const {
    const T slope = here.scale * g + here.decay * p;
    m = beta1 * m + rest1 * slope;
    v = beta2 * v + rest2 * slope * slope;
    p -= here.rate * m / (std::sqrt(v) + epsilon);
  }
};

struct Adam : OpBase<Adam, AdamAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName =
      "adam";  // (p, g, m, v, multipliers, rate, norm, loss) -> (p', m', v' [, copy])

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    detail::check_flat(kName, in, 4, real);
    std::vector<Spec> out = {in[0], in[2], in[3]};
    if (attrs.copy) out.push_back({in[0].shape, real});
    return out;
  }
  std::shared_ptr<const Op> with_copy() const override {
    AdamAttrs copying = attrs;
    copying.copy = true;
    return make_op<Adam>(copying);
  }
  bool has_gradient() const override { return false; }  // the end of a step: nothing is derived through it
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  std::vector<Sharing> sharing() const override {
    return {{.out = 0, .in = 0}, {.out = 1, .in = 2}, {.out = 2, .in = 3}};
  }
  static std::vector<Case> cases();
};

// What `rate` is at the t-th update, t = 1, 2, ...: the learning rate with both bias corrections.
double adam_rate(const AdamAttrs& attrs, double learning_rate, int64_t t);

inline void register_adam(Registry& r) { r.add_op<Adam>(); }

}  // namespace millrace
