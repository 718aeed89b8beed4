// What a step's times mean: sums by kind of node, and the floor below which no kernel gets, from what the
// device can do at most.
#pragma once

#include <string>

#include "core/plan.h"

namespace millrace {

// In FLOP and bytes a second, and where the numbers come from, in words.
struct Peaks {
  double fp32 = 0, tf32 = 0, bf16 = 0;
  double bytes = 0;  // read plus written, of a copy
  std::string source = {};
};

// conv: convolutions and matrix products with their gradients. loss: everything on the images and flows
// behind the net, forward and backward. other: what lies between, such as activations, sums and casts.
enum class NodeKind { conv, loss, optimizer, other };
constexpr NodeKind kNodeKinds[] = {NodeKind::conv, NodeKind::loss, NodeKind::optimizer, NodeKind::other};
std::string name_of(NodeKind kind);
NodeKind node_kind(const PlanStep& step);

// max(FLOP / peak, bytes / bandwidth), the peak being that of the numbers that the kernel multiplies.
double floor_seconds(const PlanStep& step, const Peaks& peaks);

// Of one node, or of several.
struct NodeTime {
  int64_t nodes = 0;
  double seconds = 0, floor = 0, flop = 0, bytes = 0;

  NodeTime& operator+=(const NodeTime& other);
};
NodeTime node_time(const PlanStep& step, double seconds, const Peaks& peaks);

}  // namespace millrace
