// Plan: everything about a step that is decided before it runs. Which kernel computes each node, where each
// value lies, how much memory all of it takes. It is data: it prints, has a fingerprint, and can be tested.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/graph.h"
#include "core/kernel_choice.h"
#include "core/precision.h"
#include "core/registry.h"

namespace millrace {

// Where a value lies.
struct Place {
  enum class Where { arena, input, state };
  Where where = Where::arena;
  std::string region;   // name of the input or of the state's buffer
  int64_t offset = 0;   // bytes, from the start of the region
  int32_t buffer = -1;  // arena only: index into Plan::buffers
};

// A piece of the arena, live from step `first` to step `last`. Values that share storage are one buffer.
struct ArenaBuffer {
  int64_t bytes = 0;
  int64_t offset = 0;
  int64_t first = 0, last = 0;
};

struct PlanStep {
  std::shared_ptr<const Op> op;
  std::string name;
  const Kernel* kernel = nullptr;
  Prepared prepared;
  std::vector<Value> in, out;
  int64_t workspace_offset = 0;
  Cost cost;
};

// How a version is chosen where several can do a node. heuristic: the most preferred. measure: the fastest on
// this machine (core/kernel_timing.h), so that two plans may differ.
enum class KernelPolicy { heuristic, measure };

struct PlanOptions {
  std::string device = "cpu";
  Precision precision = Precision::fp32;
  KernelPolicy kernels = KernelPolicy::heuristic;
  // What is known goes before the policy, where that version can still do the node; what is measured is
  // added.
  KernelChoices* choices = nullptr;
  // Op -> version, whatever policy and choices say (tests, benchmarks).
  std::map<std::string, std::string> versions{};
  // Op of a Fusion -> whether its pass runs, where that is not left to the device.
  std::map<std::string, bool> fusions{};
  // Off: each node and value as the net wrote it, which makes a failure easier to read.
  bool rewrite = true;
};

class Plan {
 public:
  std::string device;
  Precision precision = Precision::fp32;
  std::vector<PlanStep> steps;
  std::vector<Spec> specs;    // per value
  std::vector<Place> places;  // per value
  std::vector<ArenaBuffer> buffers;
  std::map<std::string, Value> inputs, outputs;
  std::map<std::string, Spec>
      state;  // buffers of the State that the plan touches, and how far it reaches into them

  int64_t arena_bytes = 0;
  // All values side by side, aligned as in the arena, workspaces included: what a run without a planner would
  // take. No arena is larger.
  int64_t values_bytes = 0;
  int64_t bound_bytes = 0;  // the most that is live at once: no arena can be smaller
  int64_t input_bytes = 0;
  Cost cost;

  // A table of nodes with kernels, FLOP, bytes and places, and the sums.
  std::string to_string() const;
  // Of all that decides the result to the last bit: precision, ops, shapes, kernels, order, names of inputs
  // and outputs, places in the State. Not of offsets in the arena.
  std::string fingerprint() const;
};

// Throws when a node has no kernel on the device: the message names op, device and node. Throws when an
// output is a state value that the step updates.
Plan make_plan(const Graph& graph, const PlanOptions& options = {});
// The graph whose nodes are the steps of that plan, but for copies at its end: rewritten, with its reorders.
// For tests; kernels are chosen by options.choices or by preference, never measured.
Graph planned_graph(const Graph& graph, const PlanOptions& options = {});

// Each after a line "# <name>": what --plan prints and a run keeps as plan.txt.
std::string plans_to_string(const std::map<std::string, Plan>& plans);

}  // namespace millrace
