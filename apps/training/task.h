// What a training run trains: all that differs between programs. The run itself, its folder, loop and
// checkpoints are apps/training/trainer.h.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/training/run_config.h"
#include "core/params.h"
#include "core/plan.h"
#include "core/session.h"
#include "data/loader.h"
#include "optim/metrics.h"

namespace millrace {

// A loss and what it is the sum of; all (1).
struct TaskLoss {
  Value loss;
  std::vector<std::pair<std::string, Value>> terms;
};

// Appends the net and its loss to a graph that has nothing yet.
using TaskForward = std::function<TaskLoss(Graph&, ParamStore&)>;

// What a validation found.
struct TaskValidation {
  std::string text;                                          // for the log: "loss 1.2, ..."
  double loss = 0;                                           // the lowest is that of the best checkpoint
  std::string json;                                          // an object, for result.json
  std::vector<std::pair<std::string, double>> metrics = {};  // for metrics.jsonl, by full name
  std::vector<std::pair<std::string, double>> scalars = {};  // for TensorBoard, by full name
};

// Where the sessions of a run lie, until release().
struct TaskPlace {
  ParamStore& params;
  State& state;
  Memory& arena;  // for sessions that do not run at the same time
  const PlanOptions& plans;
};

class TrainingTask {
 public:
  virtual ~TrainingTask() = default;

  // Options as they were given; what is written to config.toml.
  virtual RunConfig& config() = 0;
  // One line: which net.
  virtual std::string net_text() const = 0;
  // One sentence for the log: how much there is to train and to validate on.
  virtual std::string data_text() const = 0;

  // Called in this order, once each. Opens what is learned from.
  virtual void open_data() = 0;
  // Factors of the parameters' own learning rates; 0 freezes. Asked for before forward().
  virtual std::vector<ParamRule> rules() const { return {}; }
  virtual TaskLoss forward(Graph& g, ParamStore& params) = 0;
  // The plans that prepare() makes sessions of, for their memory.
  virtual std::vector<Plan> validation_plans(ParamStore& params, const PlanOptions& options) = 0;
  virtual void prepare(const TaskPlace& place) = 0;
  // Lets go of all that lies in the place, which goes with the run.
  virtual void release() = 0;
  // Weights to start from; they were drawn at random before.
  virtual void initialise(ParamStore& params, State& state) = 0;

  virtual std::unique_ptr<Loader> make_loader() = 0;
  // Sets all inputs of a session that trains but "rate". `micro_batch` counts batches over the whole run:
  // what it sets may depend on nothing else, so that a run can go on.
  virtual void bind(Session& session, const Batch& batch, int64_t micro_batch) = 0;
  // For the progress bar.
  virtual std::string step_text(double loss, const std::map<std::string, double>& terms) const = 0;

  // 0: nothing is held out, and the rest is not called.
  virtual int64_t validation_clips() const = 0;
  virtual TaskValidation validate() = 0;
  // Of a held-out clip, empty where there is nothing to see.
  virtual std::optional<Image> picture(int64_t clip) = 0;

  // What model.safetensors records of the net beside the step.
  virtual std::map<std::string, std::string> model_metadata() const = 0;
};

// Training: one plan where a step is one batch ("step"), else three ("first", "next", "update";
// optim/update.h). Outputs "loss" and every term, and with the update "gradient_norm"; input "rate". Each run
// of one of them writes a row of the ring of metrics (optim/metrics.h): "step" the loss, its terms and
// gradient_norm; "first" and "next" the loss and its terms; "update" loss_sum and gradient_norm.
std::map<std::string, Plan> plan_training(const RunConfig& config, const TaskForward& forward,
                                          ParamStore& params, const PlanOptions& options);
std::map<std::string, Plan> plan_training(TrainingTask& task, ParamStore& params, const PlanOptions& options);
// The names of the terms in order.
std::vector<std::string> term_names(TrainingTask& task);

// How many steps may be queued before the host reads the numbers of the first.
constexpr int64_t kStepsInFlight = 2;
// Rows that one step writes, and the ring with the rows of all steps in flight and of one that is read.
int64_t metrics_rows(const RunConfig& config);
MetricsRing metrics_ring(const RunConfig& config, size_t terms);

}  // namespace millrace
