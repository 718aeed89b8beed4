// twostream-eval behind its command line.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "apps/actions/eval_state.h"
#include "apps/actions/evaluate_data.h"
#include "apps/actions/evaluate_networks.h"
#include "apps/actions/evaluate_results.h"
#include "apps/actions/evaluate_settings.h"
#include "apps/actions/evaluate_split.h"
#include "apps/actions/evaluate_streams.h"
#include "apps/training/kernel_settings.h"

namespace millrace {

class Evaluation {
 public:
  // `settings` are checked, and outlive this.
  explicit Evaluation(const EvalSettings& settings);
  // Returns the exit code.
  int run();

 private:
  nlohmann::json made_with() const;
  void open_data();
  KnownVideos training_videos(int64_t split) const;
  void use_networks(int64_t split);
  bool run_split(int64_t split);
  EvalSplit results_of(int64_t split, const EvalSplitRun& videos) const;
  std::optional<FusionRule> fusion_rule() const;
  void write_report(const std::filesystem::path& file);
  void tell_of_troubles() const;

  const EvalSettings& s_;
  std::vector<EvalStream> streams_;
  std::vector<std::string> classes_;
  std::vector<EvalData> data_;  // by split
  std::unique_ptr<EvalState> state_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<KernelSettings> kernels_;
  std::vector<std::shared_ptr<ViewNetwork>> networks_;  // by stream
  int64_t networks_split_ = -1;                         // that they are of
  EvalResults results_;
};

}  // namespace millrace
