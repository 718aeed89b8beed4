#include "optim/update.h"

#include <cmath>

#include "core/add.h"
#include "core/error.h"
#include "core/fill.h"
#include "core/pack.h"
#include "optim/norm.h"

namespace millrace {
namespace {

void check_layout(const FlatLayout& layout) {
  if (layout.slices.empty()) {
    fail(ErrorKind::usage, {"training step", "parameters that train", "none: nothing trains",
                            "do patterns of --freeze or --lr-mult freeze the whole net?"});
  }
  int64_t end = 0;
  for (const FlatSlice& s : layout.slices) {
    if (s.offset < end || s.offset % kUpdateBlock != 0) {
      fail(ErrorKind::runtime,
           {"parameter " + s.name, "an offset that is a multiple of 64, from " + std::to_string(end),
            std::to_string(s.offset), ""});
    }
    end = s.offset + s.count();
  }
  if (layout.total < end || layout.total % kUpdateBlock != 0) {
    fail(ErrorKind::runtime, {"parameters", "a total that is a multiple of 64, from " + std::to_string(end),
                              std::to_string(layout.total), ""});
  }
}

Value flat_state(Graph& g, const char* buffer, const FlatLayout& layout) {
  return g.state({buffer, 0}, {layout.total}, buffer);
}

Value loss_sum(Graph& g) { return g.state({kLossSum, 0}, {1}, kLossSum); }

// dL/dparams in "grads". With `add_to_old` the old content is the seed of each parameter's own gradient: what
// the backward pass then returns is L's gradient plus the old one, each sum made as soon as its summand
// exists, so that no more than one summand is live.
Value append_gradients(Graph& g, Value loss, const FlatLayout& layout, bool add_to_old) {
  check_layout(layout);
  if (!(g.shape(loss) == Shape{1})) {
    fail(ErrorKind::runtime,
         {"training step", "a loss of shape (1)", g.shape(loss).to_string(), "sum it first"});
  }
  std::vector<Value> params, of = {loss}, seeds = {fill(g, {1}, 1)};
  PackAttrs places{.total = layout.total, .offsets = {}, .layouts = {}};
  for (const FlatSlice& s : layout.slices) {
    params.push_back(parameter(g, s));
    places.offsets.push_back(s.offset);
    places.layouts.push_back(s.layout);
    if (!add_to_old) continue;
    of.push_back(params.back());
    seeds.push_back(g.state({kGrads, s.offset}, s.shape, "d" + s.name, s.layout));
  }
  std::vector<Value> grads = gradients(g, of, seeds, params);
  for (Value& v : grads) {
    // L does not depend on this parameter: its sum stays what it is.
    if (g.info(v).state) v = add(g, v, fill(g, g.shape(v), 0));
  }
  const Value all = pack(g, grads, std::move(places));
  g.update(flat_state(g, kGrads, layout), all);
  return all;
}

struct UpdateInputs {
  Value grads, loss;
  std::optional<StepMetrics> metrics;
};

void append_update(Graph& g, const UpdateInputs& from, const FlatLayout& layout, const OptimizerOptions& o) {
  check_layout(layout);
  check_optimizer(o);
  Graph::Scope scope(g, "update");
  const GradientAttrs gradient{.gradient_scale = 1.0 / static_cast<double>(o.accumulate),
                               .weight_decay = o.weight_decay,
                               .clip = o.clip};
  const Value params = flat_state(g, kParams, layout);
  const Value multipliers = g.state({kMultipliers, 0}, {layout.total / kUpdateBlock, 2}, kMultipliers);
  const Value rate = g.input("rate", {1}), size = norm(g, from.grads);
  std::shared_ptr<const Op> op;
  if (o.kind == OptimizerKind::adam) {
    op = make_op<Adam>(
        AdamAttrs{.beta1 = o.beta1, .beta2 = o.beta2, .epsilon = o.epsilon, .gradient = gradient});
  } else {
    op = make_op<Sgd>(SgdAttrs{.momentum = o.momentum, .gradient = gradient});
  }
  std::vector<Value> moved = {params}, in = {params, from.grads};
  for (const std::string& buffer : optimizer_buffers(o.kind)) {
    moved.push_back(flat_state(g, buffer.c_str(), layout));
    in.push_back(moved.back());
  }
  Value guard = from.loss;
  if (from.metrics) {
    std::vector<Value> values = from.metrics->values;
    values.push_back(size);
    guard = record_metrics(g, from.metrics->ring, values);
  }
  in.insert(in.end(), {multipliers, rate, size, guard});
  const std::vector<Value> next = g.add(std::move(op), in);
  for (size_t k = 0; k < moved.size(); ++k) g.update(moved[k], next[k]);
  g.output("gradient_norm", size);
}

}  // namespace

void check_optimizer(const OptimizerOptions& o) {
  auto need = [](bool holds, const char* option, const char* expected, double got) {
    if (!holds)
      fail(ErrorKind::usage, {std::string("optimizer, ") + option, expected, std::to_string(got), ""});
  };
  auto fraction = [](double x) { return x >= 0 && x < 1; };
  auto size = [](double x) { return x >= 0 && std::isfinite(x); };
  need(fraction(o.beta1), "beta1", "a number in [0, 1)", o.beta1);
  need(fraction(o.beta2), "beta2", "a number in [0, 1)", o.beta2);
  need(o.epsilon > 0 && std::isfinite(o.epsilon), "epsilon", "a number above 0", o.epsilon);
  need(fraction(o.momentum), "momentum", "a number in [0, 1)", o.momentum);
  need(size(o.weight_decay), "weight_decay", "0 or more", o.weight_decay);
  need(size(o.clip), "clip", "0 or more", o.clip);
  need(o.accumulate >= 1, "accumulate", "1 or more", static_cast<double>(o.accumulate));
}

std::vector<std::string> optimizer_buffers(OptimizerKind kind) {
  if (kind == OptimizerKind::adam) return {"moment1", "moment2"};
  return {"velocity"};
}

Value parameter(Graph& g, const FlatSlice& slice) {
  return g.state({kParams, slice.offset}, slice.shape, slice.name, slice.layout);
}

void train_step(Graph& g, Value loss, const FlatLayout& layout, const OptimizerOptions& options,
                const std::optional<StepMetrics>& metrics) {
  if (options.accumulate != 1) {
    fail(ErrorKind::runtime, {"train_step", "accumulate = 1", std::to_string(options.accumulate),
                              "more micro-batches take first_micro_step, next_micro_step and update_step"});
  }
  const Value grads = append_gradients(g, loss, layout, false);
  append_update(g, {grads, loss, metrics}, layout, options);
}

void first_micro_step(Graph& g, Value loss, const FlatLayout& layout) {
  append_gradients(g, loss, layout, false);
  g.update(loss_sum(g), loss);
}

void next_micro_step(Graph& g, Value loss, const FlatLayout& layout) {
  append_gradients(g, loss, layout, true);
  g.update(loss_sum(g), add(g, loss_sum(g), loss));
}

void update_step(Graph& g, const FlatLayout& layout, const OptimizerOptions& options,
                 const std::optional<MetricsRing>& ring) {
  std::optional<StepMetrics> metrics;
  if (ring) metrics = {*ring, {loss_sum(g)}};
  append_update(g, {flat_state(g, kGrads, layout), loss_sum(g), metrics}, layout, options);
  g.output("loss_sum", loss_sum(g));
}

double update_rate(const OptimizerOptions& o, double learning_rate, int64_t t) {
  if (o.kind == OptimizerKind::sgd) return learning_rate;
  return adam_rate({.beta1 = o.beta1, .beta2 = o.beta2, .epsilon = o.epsilon, .gradient = {}}, learning_rate,
                   t);
}

}  // namespace millrace
