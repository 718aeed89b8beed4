#include "apps/training/task.h"

#include "optim/update.h"

namespace millrace {
namespace {

std::vector<Value> values_of(const TaskLoss& losses) {
  std::vector<Value> values{losses.loss};
  for (const auto& [name, value] : losses.terms) values.push_back(value);
  return values;
}

TaskLoss with_outputs(TaskLoss losses, Graph& g) {
  for (const auto& [name, value] : losses.terms) g.output(name, value);
  g.output("loss", losses.loss);
  return losses;
}

}  // namespace

std::map<std::string, Plan> plan_training(const RunConfig& c, const TaskForward& forward, ParamStore& params,
                                          const PlanOptions& options) {
  const OptimizerOptions optimizer = optimizer_options(c);
  std::map<std::string, Plan> plans;
  if (c.accumulate == 1) {
    Graph g;
    const TaskLoss losses = with_outputs(forward(g, params), g);
    train_step(g, losses.loss, params.layout(), optimizer,
               StepMetrics{metrics_ring(c, losses.terms.size()), values_of(losses)});
    plans["step"] = make_plan(g, options);
    return plans;
  }
  MetricsRing ring;
  for (const char* name : {"first", "next"}) {
    Graph g;
    const TaskLoss losses = with_outputs(forward(g, params), g);
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

std::map<std::string, Plan> plan_training(TrainingTask& task, ParamStore& params,
                                          const PlanOptions& options) {
  return plan_training(
      task.config(), [&](Graph& g, ParamStore& store) { return task.forward(g, store); }, params, options);
}

std::vector<std::string> term_names(TrainingTask& task) {
  Graph g;
  ParamStore params;
  std::vector<std::string> names;
  for (const auto& [name, value] : task.forward(g, params).terms) names.push_back(name);
  return names;
}

int64_t metrics_rows(const RunConfig& c) { return c.accumulate == 1 ? 1 : c.accumulate + 1; }

MetricsRing metrics_ring(const RunConfig& c, size_t terms) {
  return {.rows = metrics_rows(c) * (kStepsInFlight + 1), .columns = static_cast<int64_t>(terms) + 2};
}

}  // namespace millrace
