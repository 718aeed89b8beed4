// The pass that decides how each value of a step lies in memory. Kernels say how they want their operands
// (Prepared::layouts), or go along with what they find (Kernel::follow); where the two ends of a value do not
// agree, a reorder node is put between them, one for all readers that want the same.
#pragma once

#include <functional>

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct Choice {
  const Kernel* kernel = nullptr;
  Prepared prepared;
};

struct ArrangedGraph {
  Graph graph;                  // specs of values have their layouts; inputs and outputs are dense
  std::vector<Choice> choices;  // per node
};

// `choose` finds the kernel of a node, told the shapes of its operands and the layouts of those in the State.
using ChooseFn =
    std::function<Choice(const Node& node, const std::vector<Spec>& in, const std::vector<Spec>& out)>;
ArrangedGraph arrange_layouts(const Graph& graph, const ChooseFn& choose);

}  // namespace millrace
