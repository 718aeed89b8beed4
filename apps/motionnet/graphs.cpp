#include "apps/motionnet/graphs.h"

#include "core/fill.h"
#include "layers/normalize_image.h"
#include "layers/scale.h"

namespace millrace {
namespace {

Value clip_input(Graph& g, int64_t batch, int64_t height, int64_t width, int64_t frames) {
  return normalize_image(g, g.input("clip", Spec{{batch, height, width, 3 * frames}, Dtype::u8}));
}

void output_losses(Graph& g, const MotionLoss& losses) {
  for (const LossTerm& term : losses.terms) g.output(term.name, term.value);
  g.output("loss", losses.loss);
}

MotionLoss forward(Graph& g, const TrainConfig& c, ParamStore& params) {
  const Value images = clip_input(g, c.batch, c.height, c.width, c.frames);
  const MotionLoss losses =
      motion_loss(g, images, motionnet(g, params, images, net_options(c)), loss_options(c));
  output_losses(g, losses);
  return losses;
}

std::vector<Value> values_of(const MotionLoss& losses) {
  std::vector<Value> values{losses.loss};
  for (const LossTerm& term : losses.terms) values.push_back(term.value);
  return values;
}

MotionNetFlows zero_flows(Graph& g, const TrainConfig& c) {
  MotionNetFlows flows{.coarsest = coarsest_level(net_options(c).kind), .flows = {}};
  for (int level = kFinestLevel; level <= flows.coarsest; ++level) {
    const int64_t factor = int64_t{1} << (level - 1);
    flows.at(level) = fill(g, {1, c.height / factor, c.width / factor, 2 * (c.frames - 1)}, 0);
  }
  return flows;
}

}  // namespace

std::map<std::string, Plan> plan_training(const TrainConfig& c, ParamStore& params,
                                          const PlanOptions& options) {
  const OptimizerOptions optimizer = optimizer_options(c);
  std::map<std::string, Plan> plans;
  if (c.accumulate == 1) {
    Graph g;
    const MotionLoss losses = forward(g, c, params);
    train_step(g, losses.loss, params.layout(), optimizer,
               StepMetrics{metrics_ring(c, losses.terms.size()), values_of(losses)});
    plans["step"] = make_plan(g, options);
    return plans;
  }
  MetricsRing ring;
  for (const char* name : {"first", "next"}) {
    Graph g;
    const MotionLoss losses = forward(g, c, params);
    if (std::string(name) == "first")
      first_micro_step(g, losses.loss, params.layout());
    else
      next_micro_step(g, losses.loss, params.layout());
    ring = metrics_ring(c, losses.terms.size());
    record_metrics(g, ring, values_of(losses));
    plans[name] = make_plan(g, options);
  }
  Graph g;
  update_step(g, params.layout(), optimizer, ring);
  plans["update"] = make_plan(g, options);
  return plans;
}

int64_t metrics_rows(const TrainConfig& c) { return c.accumulate == 1 ? 1 : c.accumulate + 1; }

MetricsRing metrics_ring(const TrainConfig& c, size_t terms) {
  return {.rows = metrics_rows(c) * (kStepsInFlight + 1), .columns = static_cast<int64_t>(terms) + 2};
}

Plan plan_validation(const TrainConfig& c, ParamStore& params, const PlanOptions& options) {
  Graph g;
  const Value images = clip_input(g, 1, c.height, c.width, c.frames);
  const MotionNetFlows flows = motionnet(g, params, images, net_options(c));
  output_losses(g, motion_loss(g, images, flows, loss_options(c)));
  g.output("flow2", scale(g, flows.at(kFinestLevel), kFlowScale));
  return make_plan(g, options);
}

Plan plan_zero_flow(const TrainConfig& c, const PlanOptions& options) {
  Graph g;
  const Value images = clip_input(g, 1, c.height, c.width, c.frames);
  output_losses(g, motion_loss(g, images, zero_flows(g, c), loss_options(c)));
  return make_plan(g, options);
}

Plan plan_flow(const FlowNetOptions& o, ParamStore& params, const PlanOptions& options) {
  Graph g;
  const Value images = clip_input(g, o.batch, o.height, o.width, o.net.frames);
  g.output("flow2", scale(g, motionnet(g, params, images, o.net).at(kFinestLevel), kFlowScale));
  return make_plan(g, options);
}

std::vector<std::string> term_names(const TrainConfig& c) {
  Graph g;
  const Value images = clip_input(g, 1, c.height, c.width, c.frames);
  std::vector<std::string> names;
  for (const LossTerm& term : motion_loss(g, images, zero_flows(g, c), loss_options(c)).terms)
    names.push_back(term.name);
  return names;
}

}  // namespace millrace
