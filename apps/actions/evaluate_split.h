// The videos of one split: which are finished, and how the others are.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "apps/actions/eval_state.h"
#include "apps/actions/evaluate_data.h"
#include "apps/actions/evaluate_networks.h"
#include "apps/actions/evaluate_results.h"
#include "apps/actions/evaluate_settings.h"
#include "apps/actions/evaluate_streams.h"

namespace millrace {

struct SplitOptions {
  int64_t number = 0;  // from 0
  int64_t splits = 1;
  int64_t clips = 25;
  int64_t classes = 0;
  int64_t loader_threads = 1;
  bool skip_broken = true;
};

class EvalSplitRun {
 public:
  // Takes what `state` has finished already. All outlive this.
  EvalSplitRun(const EvalData& data, const std::vector<EvalStream>& streams, EvalState& state,
               const SplitOptions& options);

  bool complete() const { return missing_.empty(); }
  // Computes what is missing, by networks of the streams' order. False: stopped by a signal. Errors: of kind
  // data for a broken video, unless it is to be skipped.
  bool run(const std::vector<std::shared_ptr<ViewNetwork>>& networks, EvalSpeed& speed);

  // By video of the data; none of a broken one.
  const std::vector<std::optional<VideoScore>>& scores() const { return scores_; }
  const std::vector<ReportData::Broken>& broken() const { return broken_; }

 private:
  struct Pending;
  void take_batch(const ViewBatch& batch, const ViewBatches& batches, std::vector<Pending>& pending,
                  EvalSpeed& speed);
  void finish_video(Pending& pending, int64_t k, const ViewBatches& batches);
  void take_broken(const BrokenVideo& broken, std::vector<Pending>& pending);

  const EvalData& data_;
  const std::vector<EvalStream>& streams_;
  EvalState& state_;
  SplitOptions options_;
  std::vector<std::shared_ptr<ViewNetwork>> networks_;
  std::vector<int64_t> missing_;  // videos of the data
  std::vector<std::optional<VideoScore>> scores_;
  std::vector<ReportData::Broken> broken_;
};

}  // namespace millrace
