// The training step around a net: gradients at their fixed places, their norm, and the optimizer's update of
// the parameters, appended to a graph as nodes.
//
// A step of several micro-batches is three graphs over one State: first_micro_step, then next_micro_step
// (accumulate - 1) times, then update_step. With accumulate = 1 it is one graph, train_step. All have the
// same arithmetic: the gradient is the mean over micro-batches, clipped before that division as in Caffe.
//
// `layout` is ParamStore::layout(): parameters that train. Frozen ones are no part of a step: nothing is
// computed for them backwards, and neither norm nor clipping knows of them. Where all are frozen,
// ErrorKind::usage.
//
// Gradients live in the State's buffer "grads", laid out like the parameters, also where one graph does all.
// The first gradient of a backward pass is born when nearly all activations are still live, so a gradient
// vector in the arena would find no dead memory to lie in; in the State it costs the same bytes, has one
// place in every plan, and can be read after the step.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/flat_layout.h"
#include "core/graph.h"
#include "optim/adam.h"
#include "optim/metrics.h"
#include "optim/sgd.h"

namespace millrace {

enum class OptimizerKind { adam, sgd };

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::adam;
  double beta1 = .9, beta2 = .999, epsilon = 1e-8;  // Adam
  double momentum = .9;                             // SGD
  double weight_decay = 0;
  double clip = 0;         // largest norm of the summed gradient; 0: any
  int64_t accumulate = 1;  // micro-batches per update; Caffe's iter_size
};

// Throws ErrorKind::usage on options that cannot be meant.
void check_optimizer(const OptimizerOptions& options);

// Buffers of the State beside those of core/flat_layout.h; made by the Session, all zeros.
inline constexpr const char* kGrads = "grads";
inline constexpr const char* kLossSum = "loss_sum";  // of the micro-batches so far
// What a checkpoint must hold besides parameters: {"moment1", "moment2"} or {"velocity"}, laid out like
// "params".
std::vector<std::string> optimizer_buffers(OptimizerKind kind);

// The parameter, one that trains, as a value of the graph; equal to Graph::state at its place.
Value parameter(Graph& g, const FlatSlice& slice);

// All that one update needs, for accumulate = 1. Input "rate" (1): see update_rate. Output "gradient_norm".
// `loss` (1) should be an output too: the step changes nothing when it is not finite. With `metrics` a row of
// its ring holds these values and then the gradient's norm, and nothing moves from the first step on that has
// one which is not finite.
struct StepMetrics {
  MetricsRing ring;
  std::vector<Value> values;  // of which the loss is one
};
void train_step(Graph& g, Value loss, const FlatLayout& layout, const OptimizerOptions& options,
                const std::optional<StepMetrics>& metrics = {});

// Gradients of the first micro-batch replace what "grads" and "loss_sum" hold; those of the next are added.
void first_micro_step(Graph& g, Value loss, const FlatLayout& layout);
void next_micro_step(Graph& g, Value loss, const FlatLayout& layout);
// Input "rate"; outputs "gradient_norm", of the sum over micro-batches that `clip` is compared with, and
// "loss_sum". With `ring` a row of it holds loss_sum and the norm; micro-steps write theirs by
// record_metrics().
void update_step(Graph& g, const FlatLayout& layout, const OptimizerOptions& options,
                 const std::optional<MetricsRing>& ring = {});

// What the input "rate" is at the t-th update, t = 1, 2, ...
double update_rate(const OptimizerOptions& options, double learning_rate, int64_t t);

}  // namespace millrace
