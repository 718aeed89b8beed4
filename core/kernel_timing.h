// The `measure` policy: times the versions of kernels on a graph's own shapes.
#pragma once

#include <string>

#include "core/graph.h"
#include "core/kernel_choice.h"
#include "core/precision.h"

namespace millrace {

struct TimingOptions {
  std::string device;
  std::string environment;  // of the keys: kernel_environment(device)
  Precision precision = Precision::fp32;
};

// Stores the fastest version of each node that several versions can do and that `choices` has no usable one
// for. Equal nodes are timed once, on random numbers from a fixed seed.
//
// A version takes about a tenth of a second at a node, or one run where that is longer. One that would take
// longer than that and is hopeless, going by its speed at smaller nodes of the same op, is not run. Memory
// for the operands of the largest node is allocated meanwhile.
void time_kernels(const Graph& graph, const TimingOptions& options, KernelChoices& choices);

}  // namespace millrace
