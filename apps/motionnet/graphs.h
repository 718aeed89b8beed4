// The graphs of a MotionNet run, and their plans.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "apps/motionnet/train_config.h"
#include "core/params.h"
#include "core/plan.h"

namespace millrace {

// All take the input "clip": (N,H,W,3T) u8, frame-major B G R.

// Training: one plan where a step is one batch ("step"), else three ("first", "next", "update";
// optim/update.h). Outputs "loss" and every term, and with the update "gradient_norm"; input "rate".
// Each run of one of them writes a row of the ring of metrics (optim/metrics.h): "step" the loss, its terms
// and gradient_norm; "first" and "next" the loss and its terms; "update" loss_sum and gradient_norm.
std::map<std::string, Plan> plan_training(const TrainConfig& config, ParamStore& params,
                                          const PlanOptions& options);

// How many steps may be queued before the host reads the numbers of the first.
constexpr int64_t kStepsInFlight = 2;
// Rows that one step writes, and the ring with the rows of all steps in flight and of one that is read.
int64_t metrics_rows(const TrainConfig& config);
MetricsRing metrics_ring(const TrainConfig& config, size_t terms);

// Of one clip: outputs "loss", every term, and "flow2", the finest flow (1,H/2,W/2,2(T-1)) in pixels of the
// input.
Plan plan_validation(const TrainConfig& config, ParamStore& params, const PlanOptions& options);
// The same losses with all flows zero.
Plan plan_zero_flow(const TrainConfig& config, const PlanOptions& options);

// "flow2" alone, of clips of any size.
struct FlowNetOptions {
  int64_t height = 0, width = 0;
  MotionNetOptions net;
  int64_t batch = 1;
};
Plan plan_flow(const FlowNetOptions& net, ParamStore& params, const PlanOptions& options);

// Names of the loss terms in order: "pixel2", ..., "ssim6" (or of the net's coarsest level), those that are
// switched on.
std::vector<std::string> term_names(const TrainConfig& config);

}  // namespace millrace
