// A stream as a training run sees it.
#pragma once

#include "apps/actions/train_sources.h"
#include "apps/actions/train_validation.h"
#include "apps/training/task.h"

namespace millrace {

// The loss is the softmax cross-entropy "action", and in stacked-c MotionNet's terms beside it: a plain sum.
class StreamTask final : public TrainingTask {
 public:
  explicit StreamTask(const StreamTrainConfig& config) : config_(config) {}

  RunConfig& config() override { return config_; }
  std::string net_text() const override;
  std::string data_text() const override;
  void open_data() override;
  std::vector<ParamRule> rules() const override { return parameter_rules(config_); }
  TaskLoss forward(Graph& g, ParamStore& params) override;
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
  std::map<std::string, std::string> model_metadata() const override { return stream_metadata(spec_); }

 private:
  bool has_dropout() const { return config_.dropout6 > 0 || config_.dropout7 > 0; }

  StreamTrainConfig config_;
  StreamSpec spec_;
  StreamSources sources_;
  std::unique_ptr<StreamValidator> validator_;
};

}  // namespace millrace
