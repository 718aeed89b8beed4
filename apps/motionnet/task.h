// MotionNet as a training run sees it.
#pragma once

#include "apps/motionnet/sources.h"
#include "apps/training/task.h"

namespace millrace {

class MotionNetTask final : public TrainingTask {
 public:
  explicit MotionNetTask(const TrainConfig& config) : config_(config) {}

  RunConfig& config() override { return config_; }
  std::string net_text() const override;
  std::string data_text() const override;
  void open_data() override { sources_ = open_run_sources(config_); }
  TaskLoss forward(Graph& g, ParamStore& params) override { return motionnet_forward(g, config_, params); }
  std::vector<Plan> validation_plans(ParamStore& params, const PlanOptions& options) override;
  void prepare(const TaskPlace& place) override;
  void release() override { validator_.reset(); }
  void initialise(ParamStore& params, State& state) override;
  std::unique_ptr<Loader> make_loader() override;
  void bind(Session& session, const Batch& batch, int64_t micro_batch) override;
  std::string step_text(double loss, const std::map<std::string, double>& terms) const override;
  int64_t validation_clips() const override { return validator_ ? validator_->clips() : 0; }
  TaskValidation validate() override;
  std::optional<Image> picture(int64_t clip) override { return validator_->picture(clip); }
  std::map<std::string, std::string> model_metadata() const override;

 private:
  TrainConfig config_;
  RunSources sources_;
  std::unique_ptr<Validator> validator_;
};

}  // namespace millrace
