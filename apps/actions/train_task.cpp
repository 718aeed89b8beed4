#include "apps/actions/train_task.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "apps/motionnet/net_file.h"
#include "apps/motionnet/step_text.h"
#include "apps/support/program.h"
#include "apps/support/text.h"
#include "core/add.h"
#include "core/log.h"
#include "losses/softmax_cross_entropy.h"
#include "nets/motion_loss.h"

namespace millrace {
namespace {

using nlohmann::json;

constexpr Protocol kProtocol{.level = Level::clip, .clips = 1, .crops = 1};

}  // namespace

std::string StreamTask::net_text() const {
  std::string text = fmt::format("--stream {}: VGG16 x {}", config_.stream, config_.channels);
  if (spec_.kind == StreamKind::stacked)
    text += fmt::format(" on {} x {}", flags_of(spec_.motionnet), config_.motion_channels);
  text += fmt::format(", {} of {}x{}",
                      counted(clip_frames(spec_), spec_.kind == StreamKind::temporal ? "flow" : "frame"),
                      config_.width, config_.height);
  return text + fmt::format(", {} classes", spec_.classes.size());
}

std::string StreamTask::data_text() const {
  return fmt::format("{} for training, {} for validation", counted(sources_.train->size(), "video"),
                     validator_ ? counted(validator_->clips(), "video") : "none");
}

void StreamTask::open_data() {
  sources_ = open_stream_sources(config_);
  spec_ = stream_spec(config_, sources_.train->classes());
  spec_.provenance =
      fmt::format("twostream-train {}, --stream {}, on {}", version(), config_.stream, config_.data);
  if (!config_.init.empty()) spec_.provenance += fmt::format(", from {}", fmt::join(config_.init, ", "));
}

TaskLoss StreamTask::forward(Graph& g, ParamStore& params) {
  StreamTraining training{.dropout_at = {},
                          .dropout6 = config_.dropout6,
                          .dropout7 = config_.dropout7,
                          .lr_mult = config_.vgg_lr_mult};
  const Value clip = g.input("clip", clip_spec(spec_, config_.batch));
  const Value labels = g.input("labels", Spec{{config_.batch}, Dtype::i32});
  if (has_dropout()) training.dropout_at = g.input("dropout_at", Spec{{2}, Dtype::i64});
  const StreamValues values = stream(g, params, clip, spec_, training);
  const Value action = softmax_cross_entropy(g, values.logits, labels).loss;
  if (parse_stream(config_.stream).stacking != Stacking::action_motion)
    return {.loss = action, .terms = {{"action", action}}};

  const MotionLoss motion =
      motion_loss(g, values.images, *values.flows, loss_options(config_, clip_frames(spec_)));
  TaskLoss result{.loss = add(g, action, motion.loss), .terms = {{"action", action}}};
  for (const LossTerm& term : motion.terms) result.terms.emplace_back(term.name, term.value);
  return result;
}

std::vector<Plan> StreamTask::validation_plans(ParamStore& params, const PlanOptions& options) {
  std::vector<Plan> plans;
  if (sources_.validation) plans.push_back(StreamValidator::plan(config_, spec_, params, options));
  return plans;
}

void StreamTask::prepare(const TaskPlace& place) {
  if (sources_.validation)
    validator_ = std::make_unique<StreamValidator>(config_, spec_, place, sources_.validation);
}

void StreamTask::initialise(ParamStore& params, State& state) {
  for (const std::string& line : initialise_parts(init_parts(config_), spec_, params, state)) log_info(line);
}

std::unique_ptr<Loader> StreamTask::make_loader() {
  return std::make_unique<Loader>(sources_.train, LoaderOptions{.batch = config_.batch,
                                                                .frames = clip_frames(spec_),
                                                                .geometry = geometry_options(config_),
                                                                .seed = static_cast<uint64_t>(config_.seed),
                                                                .threads = config_.loader_threads,
                                                                .want_labels = true,
                                                                .shuffle = config_.shuffle,
                                                                .clips_per_item = config_.clips_per_video});
}

void StreamTask::bind(Session& session, const Batch& batch, int64_t micro_batch) {
  session.set("clip", batch.frames, session.input("clip").count());
  session.set("labels", batch.labels, session.input("labels").count());
  if (has_dropout()) session.set("dropout_at", std::vector<int64_t>{config_.seed, micro_batch});
}

std::string StreamTask::step_text(double loss, const std::map<std::string, double>& terms) const {
  return loss_text(loss, terms);
}

TaskValidation StreamTask::validate() {
  const StreamValidation v = validator_->run();
  const Accuracy& a = v.accuracy;
  const std::string top1 = metric_name(Metric::top1, kProtocol);
  json result = accuracy_json({a}, kProtocol);
  result["loss"] = v.loss;
  TaskValidation found{
      .text = fmt::format("{} {:.1f} % ({} of {}), loss {:.4f}", top1, a.top1, a.correct, a.videos, v.loss),
      .loss = 100 - a.top1,
      .json = result.dump()};
  found.metrics = {{"validation_" + top1, a.top1}, {"validation_loss", v.loss}};
  found.scalars = {{"validation/" + top1, a.top1}, {"validation/loss", v.loss}};
  return found;
}

}  // namespace millrace
