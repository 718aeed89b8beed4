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

MotionNetFlows zero_flows(Graph& g, const TrainConfig& c) {
  MotionNetFlows flows{.coarsest = coarsest_level(net_options(c).kind), .flows = {}};
  for (int level = kFinestLevel; level <= flows.coarsest; ++level) {
    const int64_t factor = int64_t{1} << (level - 1);
    flows.at(level) = fill(g, {1, c.height / factor, c.width / factor, 2 * (c.frames - 1)}, 0);
  }
  return flows;
}

}  // namespace

TaskLoss motionnet_forward(Graph& g, const TrainConfig& c, ParamStore& params) {
  const Value images = clip_input(g, c.batch, c.height, c.width, c.frames);
  const MotionLoss losses =
      motion_loss(g, images, motionnet(g, params, images, net_options(c)), loss_options(c));
  TaskLoss result{.loss = losses.loss, .terms = {}};
  for (const LossTerm& term : losses.terms) result.terms.emplace_back(term.name, term.value);
  return result;
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

}  // namespace millrace
