// The graphs of a MotionNet run, and their plans.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "apps/motionnet/train_config.h"
#include "apps/training/task.h"
#include "core/params.h"
#include "core/plan.h"

namespace millrace {

// All take the input "clip": (N,H,W,3T) u8, frame-major B G R.

// The net and its loss, for training (apps/training/task.h).
TaskLoss motionnet_forward(Graph& g, const TrainConfig& config, ParamStore& params);

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

}  // namespace millrace
