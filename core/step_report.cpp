#include "core/step_report.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace millrace {
namespace {

// Names of ops begin so, those of their gradients too.
constexpr std::array<std::string_view, 2> kConv = {"conv2d", "linear"};
constexpr std::array<std::string_view, 3> kOptimizer = {"adam", "sgd", "norm"};
// In the nets here the last three are parts of losses only.
constexpr std::array<std::string_view, 9> kLoss = {
    "charbonnier", "multiscale_loss", "smoothness", "softmax_cross_entropy",
    "ssim",        "weighted_sum",    "downsample", "lrn",
    "warp"};

template <size_t N> bool is_one_of(std::string_view op, const std::array<std::string_view, N>& names) {
  return std::any_of(names.begin(), names.end(), [&](std::string_view name) {
    return op == name || (op.starts_with(name) && op[name.size()] == '_');
  });
}

}  // namespace

std::string name_of(NodeKind kind) {
  switch (kind) {
    case NodeKind::conv:
      return "conv";
    case NodeKind::loss:
      return "loss";
    case NodeKind::optimizer:
      return "optimizer";
    case NodeKind::other:
      return "other";
  }
  return "";
}

NodeKind node_kind(const PlanStep& step) {
  const std::string_view op = step.op->name();
  if (is_one_of(op, kConv)) return NodeKind::conv;
  if (is_one_of(op, kOptimizer)) return NodeKind::optimizer;
  // Whatever a loss is made of lies in a scope of its own, "loss2/".
  return is_one_of(op, kLoss) || step.name.starts_with("loss") ? NodeKind::loss : NodeKind::other;
}

double floor_seconds(const PlanStep& step, const Peaks& peaks) {
  double peak = peaks.fp32;
  if (step.kernel->tf32) peak = peaks.tf32;
  if (step.kernel->dtype == Dtype::bf16) peak = peaks.bf16;
  return std::max(step.cost.flop / peak, step.cost.bytes / peaks.bytes);
}

NodeTime& NodeTime::operator+=(const NodeTime& other) {
  nodes += other.nodes;
  seconds += other.seconds;
  floor += other.floor;
  flop += other.flop;
  bytes += other.bytes;
  return *this;
}

NodeTime node_time(const PlanStep& step, double seconds, const Peaks& peaks) {
  return {.nodes = 1,
          .seconds = seconds,
          .floor = floor_seconds(step, peaks),
          .flop = step.cost.flop,
          .bytes = step.cost.bytes};
}

}  // namespace millrace
