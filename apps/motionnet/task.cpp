#include "apps/motionnet/task.h"

#include <fmt/format.h>

#include "apps/motionnet/net_file.h"
#include "apps/motionnet/step_text.h"
#include "apps/support/text.h"
#include "core/log.h"
#include "core/run_dir.h"

namespace millrace {

std::string MotionNetTask::net_text() const {
  return fmt::format("{}, {} frames of {}x{}", flags_of(net_options(config_)), config_.frames, config_.width,
                     config_.height);
}

std::string MotionNetTask::data_text() const {
  return fmt::format("{} for training, {} for validation",
                     sources_.train->endless() ? "endless clips" : counted(sources_.train->size(), "video"),
                     validator_ ? counted(validator_->clips(), "clip") : "none");
}

std::vector<Plan> MotionNetTask::validation_plans(ParamStore& params, const PlanOptions& options) {
  return Validator::plans(config_, params, options);
}

void MotionNetTask::prepare(const TaskPlace& place) {
  if (!sources_.validation) return;
  validator_ = std::make_unique<Validator>(config_, place.params, place.state,
                                           ValidatorOptions{.source = sources_.validation,
                                                            .clips = sources_.clips,
                                                            .most = config_.validation_clips,
                                                            .arena = &place.arena,
                                                            .plan = place.plans});
}

void MotionNetTask::initialise(ParamStore& params, State& state) {
  if (config_.init.empty()) return;
  const SafetensorsReader weights(resolve_weights(config_.init));
  check_same_layers(weights, net_options(config_));
  params.load(weights, state, {{kParams, ""}});
  log_info("weights from " + weights.path().string());
}

std::unique_ptr<Loader> MotionNetTask::make_loader() {
  return std::make_unique<Loader>(sources_.train, LoaderOptions{.batch = config_.batch,
                                                                .frames = config_.frames,
                                                                .geometry = geometry_options(config_),
                                                                .seed = static_cast<uint64_t>(config_.seed),
                                                                .threads = config_.loader_threads,
                                                                .shuffle = config_.shuffle,
                                                                .clips_per_item = config_.clips_per_video});
}

void MotionNetTask::bind(Session& session, const Batch& batch, int64_t) {
  session.set("clip", batch.frames, session.input("clip").count());
}

std::string MotionNetTask::step_text(double loss, const std::map<std::string, double>& terms) const {
  return loss_text(loss, terms);
}

TaskValidation MotionNetTask::validate() {
  const ValidationResult v = validator_->run();
  TaskValidation result{
      .text = fmt::format("loss {:.4f}", v.terms.at("loss")), .loss = v.terms.at("loss"), .json = to_json(v)};
  for (const auto& [name, value] : v.terms) {
    result.scalars.emplace_back("validation/" + name, value);
    if (v.zero.at(name) > 0)
      result.scalars.emplace_back("share_of_zero_flow/" + name, value / v.zero.at(name));
  }
  for (const char* name : {"loss", "pixel2", "ssim2"}) {
    if (!v.terms.count(name)) continue;
    const double value = v.terms.at(name), zero = v.zero.at(name);
    result.metrics.emplace_back(std::string("validation_") + name, value);
    result.metrics.emplace_back(std::string("zero_flow_") + name, zero);
    if (std::string(name) != "loss" && zero > 0)
      result.text += fmt::format(", {} {:.2f} of zero flow's", name, value / zero);
  }
  if (v.epe) {
    result.text += fmt::format(", EPE {:.3f} px (zero flow {:.3f})", *v.epe, *v.zero_epe);
    result.metrics.emplace_back("validation_epe", *v.epe);
    result.scalars.emplace_back("validation/epe", *v.epe);
  }
  return result;
}

std::map<std::string, std::string> MotionNetTask::model_metadata() const {
  return net_metadata(net_options(config_));
}

}  // namespace millrace
