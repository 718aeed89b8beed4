// Generalised Charbonnier penalty inside a border, summed.
//
//   loss = 1/(N normalizer)  sum over n, valid (i,j), c of  ((beta x(n,i,j,c))^2 + epsilon^2)^alpha
//
// x (N,H,W,C), loss (1). Valid are rows [border_y, H - border_y) and columns [border_x, W - border_x). The
// normalizer divides one clip's sum; what is averaged over the batch is then a value per clip, whatever the
// batch. Source: CharbonnierLoss layer of bryanyzhu/Hidden-Two-Stream (charbonnier_loss_layer.cpp).
// Its divisor for a batch of N is N N C V with V valid pixels, so normalizer
// = N C V replicates it, and normalizer = C V is the plain mean.
#pragma once

#include "core/graph.h"
#include "core/registry.h"
#include "losses/border.h"
#include "losses/charbonnier_attrs.h"

namespace millrace {

namespace detail {
void check_charbonnier(const char* op, const CharbonnierAttrs& attrs, const Spec& x);
}

struct Charbonnier : OpBase<Charbonnier, CharbonnierAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "charbonnier";  // x -> loss

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    detail::check_charbonnier(kName, attrs, in[0]);
    return {{{1}, precise(real)}};
  }
  std::vector<Value> grad(const GradArgs& a) const override;
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  static std::vector<Case> cases();
};

// dx = dloss 2 alpha beta^2 x ((beta x)^2 + epsilon^2)^(alpha - 1) / (N normalizer); 0 in the border.
struct CharbonnierDx : OpBase<CharbonnierDx, CharbonnierAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "charbonnier_dx";  // (dloss, x) -> dx

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    detail::check_charbonnier(kName, attrs, in[1]);
    if (!(in[0] == Spec{{1}, precise(real)}))
      fail(ErrorKind::runtime, {kName, "dloss (1)", in[0].to_string(), ""});
    return {in[1]};
  }
  bool has_gradient() const override { return false; }  // first derivatives only
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override;
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 1}}; }
  static std::vector<Case> cases();
};

inline Value charbonnier(Graph& g, Value x, CharbonnierAttrs attrs) {
  return g.add1(make_op<Charbonnier>(attrs), {x});
}

inline void register_charbonnier(Registry& r) {
  r.add_op<Charbonnier>();
  r.add_op<CharbonnierDx>();
}

}  // namespace millrace
