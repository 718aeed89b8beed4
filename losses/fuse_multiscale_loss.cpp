// The pass that finds what multiscale_loss computes. Joined and dead nodes are gone (core/plan.cpp), so that
// equal nodes are one.
#include "core/add.h"
#include "core/fill.h"
#include "core/passes.h"
#include "core/pattern.h"
#include "layers/scale.h"
#include "layers/slice_channels.h"
#include "layers/sub.h"
#include "layers/warp.h"
#include "losses/charbonnier.h"
#include "losses/multiscale_loss.h"
#include "losses/smoothness.h"

namespace millrace {
namespace {

// One level: the values that stay, and those that the op makes; an empty Value where nobody computes it.
struct Match {
  MultiscaleLevel level;
  Value flow, images;
  std::array<Value, MultiscaleLoss::kOutputs> made;
};

class Matcher {
 public:
  explicit Matcher(const Graph& graph) : g_(graph) {}

  // The level whose flow has its photometric gradient from this warp_dflow.
  std::optional<Match> match(const Node& warp_dflow) const {
    const Value dwarped = warp_dflow.in[0], next = warp_dflow.in[1], scaled = warp_dflow.in[2];
    const Node* scale = g_.maker<Scale>(scaled);
    const Node* slice = g_.maker<SliceChannels>(next);
    const Node* back = g_.only_node<Scale>(warp_dflow.out[0]);
    if (!scale || !slice || !back) return {};
    Match m;
    m.flow = scale->in[0];
    m.images = slice->in[0];
    m.level.flow_scale = attrs_of<Scale>(*scale).factor;
    m.made[MultiscaleLoss::kDflow] = back->out[0];
    const int64_t channels = g_.shape(m.flow)[3] / 2 * 3;
    const SliceChannelsAttrs& frames = attrs_of<SliceChannels>(*slice);
    if (attrs_of<Scale>(*back).factor != m.level.flow_scale || frames.begin != 3 ||
        frames.count != channels || g_.shape(m.images)[3] != channels + 3)
      return {};
    if (!match_warped(m, dwarped, {next, scaled})) return {};
    match_smoothness(m);
    return m;
  }

 private:
  // Where the gradient to the warped images comes from: one or both of the terms, summed.
  bool match_warped(Match& m, Value dwarped, const std::vector<Value>& warp_inputs) const {
    std::vector<Value> parts{dwarped};
    if (const Node* add = g_.maker<Add>(dwarped)) parts = add->in;
    m.level.has_pixel = m.level.has_ssim = false;
    for (const Value part : parts) {
      if (const Node* node = g_.maker<CharbonnierDx>(part); node && !m.level.has_pixel) {
        if (!match_pixel(m, *node, warp_inputs)) return false;
      } else if (const Node* other = g_.maker<SsimDx>(part); other && !m.level.has_ssim) {
        if (!match_ssim(m, *other, warp_inputs)) return false;
      } else {
        return false;
      }
    }
    return true;
  }

  bool match_pixel(Match& m, const Node& dx, const std::vector<Value>& warp_inputs) const {
    const Value error = dx.in[1];
    const std::optional<double> dloss = constant(dx.in[0]);
    const Node* sub = g_.maker<Sub>(error);
    if (!dloss || !sub || !are_warped_and_target(m, sub->in[0], sub->in[1], warp_inputs)) return false;
    m.level.has_pixel = true;
    m.level.pixel = attrs_of<CharbonnierDx>(dx);
    m.level.dpixel = *dloss;
    if (const Node* loss = g_.find(Charbonnier(m.level.pixel), {error}))
      m.made[MultiscaleLoss::kPixel] = loss->out[0];
    return true;
  }

  bool match_ssim(Match& m, const Node& dx, const std::vector<Value>& warp_inputs) const {
    const Value warped = dx.in[1], target = dx.in[2];
    const std::optional<double> dloss = constant(dx.in[0]);
    if (!dloss || !are_warped_and_target(m, warped, target, warp_inputs)) return false;
    m.level.has_ssim = true;
    m.level.ssim = attrs_of<SsimDx>(dx);
    m.level.dssim = *dloss;
    const Node* loss = g_.find(Ssim(m.level.ssim), {warped, target});
    if (!loss) return true;
    const Node* weighted = g_.only_node<Scale>(loss->out[0]);
    if (weighted) m.level.ssim_weight = attrs_of<Scale>(*weighted).factor;
    m.made[MultiscaleLoss::kSsim] = (weighted ? weighted : loss)->out[0];
    return true;
  }

  bool are_warped_and_target(const Match& m, Value warped, Value target,
                             const std::vector<Value>& warp_inputs) const {
    const Node* warp = g_.maker<Warp>(warped);
    const Node* slice = g_.maker<SliceChannels>(target);
    return warp && warp->in == warp_inputs && slice && slice->in[0] == m.images &&
           attrs_of<SliceChannels>(*slice).begin == 0 && g_.shape(target) == g_.shape(warped);
  }

  // The smoothness whose gradient is added to that of the warp; without one the level has none.
  void match_smoothness(Match& m) const {
    m.level.has_smoothness = false;
    const Value of_warp = m.made[MultiscaleLoss::kDflow];
    const Node* sum = g_.only_node<Add>(of_warp);
    if (!sum) return;
    const Node* dflow = g_.maker<SmoothnessDflow>(sum->in[0] == of_warp ? sum->in[1] : sum->in[0]);
    if (!dflow || dflow->in[0] != m.flow) return;
    const std::optional<double> du = constant(dflow->in[1]), dv = constant(dflow->in[2]);
    if (!du || !dv) return;
    m.level.has_smoothness = true;
    m.level.smoothness = attrs_of<SmoothnessDflow>(*dflow);
    m.level.dsmooth_u = *du;
    m.level.dsmooth_v = *dv;
    m.made[MultiscaleLoss::kDflow] = sum->out[0];
    if (const Node* loss = g_.find(Smoothness(m.level.smoothness), {m.flow})) {
      m.made[MultiscaleLoss::kSmoothU] = loss->out[0];
      m.made[MultiscaleLoss::kSmoothV] = loss->out[1];
    }
  }

  // The number that a scalar is in every step.
  std::optional<double> constant(Value v) const {
    if (const Node* node = g_.maker<Fill>(v)) return attrs_of<Fill>(*node).value;
    if (const Node* node = g_.maker<Scale>(v)) {
      const std::optional<double> x = constant(node->in[0]);
      return x ? std::optional(attrs_of<Scale>(*node).factor * *x) : std::nullopt;
    }
    return {};
  }

  Surroundings g_;
};

// As many levels as one op can take, alike as it wants them.
std::vector<Match> find_levels(const Graph& graph) {
  std::vector<Match> found;
  const Matcher matcher(graph);
  for (const Node& node : graph.nodes()) {
    if (node.op->name() != WarpDflow::kName || found.size() == MultiscaleLoss::kMaxLevels) continue;
    std::optional<Match> m = matcher.match(node);
    if (!m) continue;
    const Spec &flow = graph.spec(m->flow), &first = graph.spec(found.empty() ? m->flow : found.front().flow);
    const Dtype dtype = precise(graph.real());
    const bool alike = flow.dtype == dtype && graph.spec(m->images).dtype == dtype &&
                       flow.shape[0] == first.shape[0] && flow.shape[3] == first.shape[3];
    if (alike) found.push_back(std::move(*m));
  }
  return found;
}

}  // namespace

Graph fuse_multiscale_loss(const Graph& graph) {
  const std::vector<Match> levels = find_levels(graph);
  if (levels.empty()) return graph;
  MultiscaleLossAttrs attrs;
  std::vector<Value> in;
  int64_t last = -1;  // node that the op has to follow
  for (const Match& m : levels) {
    attrs.levels.push_back(m.level);
    for (Value v : {m.flow, m.images}) {
      in.push_back(v);
      last = std::max<int64_t>(last, graph.info(v).node);
    }
  }
  // The op stands right behind the node that makes its last input. From there on its outputs are what others
  // read as terms and gradients; the nodes that made them before lose their readers.
  Rewriter rewriter(graph);
  std::vector<Value> made;
  const auto count = static_cast<int64_t>(graph.nodes().size());
  for (int64_t k = -1; k < count; ++k) {
    if (k >= 0) rewriter.keep(graph.nodes()[static_cast<size_t>(k)]);
    if (k < last) continue;
    if (k == last) {
      for (Value& v : in) v = rewriter[v];
      made = rewriter.emit(make_op<MultiscaleLoss>(attrs), in, MultiscaleLoss::kName);
    }
    for (size_t o = 0; o < made.size(); ++o) {
      const Value old = levels[o / MultiscaleLoss::kOutputs].made[o % MultiscaleLoss::kOutputs];
      if (old && graph.info(old).node <= k) rewriter.set(old, made[o]);
    }
  }
  return remove_dead_nodes(rewriter.finish());
}

}  // namespace millrace
