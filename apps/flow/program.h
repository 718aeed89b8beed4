// motionnet-flow behind its command line.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/flow/outputs.h"
#include "apps/flow/results.h"
#include "apps/flow/settings.h"
#include "apps/flow/truth.h"
#include "apps/motionnet/estimator.h"
#include "apps/training/kernel_settings.h"
#include "data/source.h"

namespace millrace {

class FlowProgram {
 public:
  // `settings` are checked, and outlive this.
  explicit FlowProgram(const FlowSettings& settings);
  // Returns the exit code.
  int run();

 private:
  enum class Outcome { made, found, stopped, left_to_another };

  void open_data();
  nlohmann::json made_with(int64_t item) const;
  void find_finished();
  std::optional<ItemResult> finished(int64_t item) const;
  void run_all();
  Outcome run_item(int64_t item, ItemResult& result);
  void run_windows(int64_t item, const std::function<void(const FlowOfPair&, const Clip&)>& sink);
  std::vector<Flow> flows_of(int64_t item, int64_t first, Clip& clip);
  float video_radius(int64_t item);
  void compare(const Flow& flow, const Clip& clip, int64_t item, ItemResult& result, int64_t number);
  FlowEstimator& estimator(Size frame);
  int finish() const;

  const FlowSettings& s_;
  std::unique_ptr<Device> device_;
  SafetensorsReader weights_;
  MotionNetOptions net_;
  KernelSettings kernels_;
  SourcePtr source_;
  std::unique_ptr<TrueFlow> truth_;
  nlohmann::json common_;                        // of made_with(), alike for all items
  std::vector<std::optional<ItemResult>> done_;  // by item, of earlier runs
  std::unique_ptr<FlowEstimator> estimator_;
  FlowReport report_;
};

}  // namespace millrace
