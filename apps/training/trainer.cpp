#include "apps/training/trainer.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/support/text.h"
#include "core/log.h"

namespace millrace {
namespace {

using nlohmann::json;

RunDir open_run(const RunOptions& o) { return o.resume ? RunDir::open(o.out) : RunDir::create(o.out); }

constexpr double kMiB = 1 << 20;
constexpr const char* kPictures = "pictures";

}  // namespace

Trainer::Trainer(TrainingTask& task, const RunOptions& options)
    : task_(task),
      config_(task.config()),
      options_(options),
      device_(make_device(config_.device)),
      state_(*device_),
      params_(device_->name(), precision_of(config_)),
      kernels_(config_, options.resume ? std::optional(options.out) : std::nullopt),
      plan_options_(kernels_.plan_options(device_->name())),
      dir_(open_run(options)) {
  try {
    set_up();
  } catch (...) {
    task_.release();
    if (!options_.resume) dir_.discard();  // else the folder could not be used again
    throw;
  }
}

Trainer::~Trainer() { task_.release(); }

void Trainer::set_up() {
  log().set_file(dir_.log_path());
  log_info(fmt::format("{} {} on {}", options_.resume ? "going on with" : "new run", options_.out,
                       device_->description()));
  task_.open_data();
  params_.set_rules(task_.rules());
  plans_ = plan_training(task_, params_, plan_options_);
  if (options_.resume) check_environment();
  check_disk();

  const std::vector<Plan> validation = task_.validation_plans(params_, plan_options_);
  std::vector<const Plan*> all;
  for (const Plan& plan : validation) all.push_back(&plan);
  for (const auto& [name, plan] : plans_) all.push_back(&plan);
  const MemoryNeed need = memory_need(all, state_);
  require_memory(*device_, need);
  arena_ = std::make_unique<Memory>(*device_, need.arena);

  params_.initialise(state_, Dtype::f32, static_cast<uint64_t>(config_.seed));
  for (auto& [name, plan] : plans_) {
    sessions_[name] = std::make_unique<Session>(
        plan, state_,
        SessionOptions{
            .arena = arena_.get(), .wait_for_nodes = config_.wait_for_nodes, .capture = config_.capture});
  }
  for (const std::string& buffer : optimizer_buffers(optimizer_options(config_).kind)) {
    moments_.push_back({buffer, buffer + "/"});
  }
  task_.prepare({params_, state_, *arena_, plan_options_});
  loader_ = task_.make_loader();
  terms_ = term_names(task_);
  profile_ = std::make_unique<Profile>(
      *device_,
      ProfileOptions{.steps = options_.profile, .file = dir_.profile_path(), .precision = config_.precision});
  metrics_ = std::make_unique<MetricsReader>(
      state_, MetricsReaderOptions{.ring = metrics_ring(config_, terms_.size()),
                                   .rows_of_step = metrics_rows(config_),
                                   .steps = kStepsInFlight + 1});
  log_info(fmt::format("{}: {} parameters, batch {}; plan {:.0f} MiB ({:.0f} arena)", task_.net_text(),
                       params_.count(), config_.batch, static_cast<double>(need.total()) / kMiB,
                       static_cast<double>(need.arena) / kMiB));
  log_info("data: " + task_.data_text());
  kernels_.finish();
  dir_.write_kernels(kernels_.choices().to_json());
  dir_.write_plan(plans_to_string(plans_));
  options_.resume ? resume_run() : start_new_run();
  events_ = std::make_unique<EventWriter>(dir_.events_path());
}

void Trainer::start_new_run() {
  task_.initialise(params_, state_);
  dir_.write_env(environment());
  dir_.write_config(to_toml(task_.config().options()));  // from now on it is a run that can be resumed
}

// As a new run has it.
void Trainer::load_start() {
  params_.initialise(state_, Dtype::f32, static_cast<uint64_t>(config_.seed));
  task_.initialise(params_, state_);
  for (const ParamStore::Part& moment : moments_) {
    const std::vector<float> zeros(static_cast<size_t>(params_.layout().total));
    state_.write(moment.buffer, 0, params_.layout().total, zeros.data());
  }
  step_ = 0;
  last_checkpoint_ = -1;
}

void Trainer::resume_run() {
  const std::optional<Checkpoint> latest = dir_.latest();
  // Stopped before its first checkpoint, it begins again, and ends alike.
  latest ? load_checkpoint(*latest) : start_new_run();
  restarts_ = read_restarts(dir_.path());
  dir_.write_config(to_toml(task_.config().options()));
  remove_path(dir_.result_path());
  go_back_to_step();
  remove_stale_temporary_files(dir_.path() / kPictures);
  log_info(latest ? fmt::format("from step {}", step_) : "no checkpoint yet: from the start");
}

// Metrics, events and data as they were after step_.
void Trainer::go_back_to_step() {
  dir_.trim_metrics(step_);
  dir_.remove_checkpoints_after(step_);
  trim_events(dir_.events_path(), step_);
  train_seconds_ = dir_.metrics_seconds();
  loader_->seek(step_ * config_.accumulate * config_.batch);
}

void Trainer::load_checkpoint(const Checkpoint& checkpoint) {
  const SafetensorsReader state(checkpoint.path / kStateFile);
  params_.load(SafetensorsReader(checkpoint.path / kModelFile), state_, {{kParams, ""}});
  params_.load(state, state_, moments_);
  const auto& meta = state.metadata();
  auto number = [&](const std::string& key) {
    const auto found = meta.find(key);
    if (found == meta.end()) {
      fail(ErrorKind::data, {state.path().string(), "'" + key + "' in its metadata", "none",
                             "is it a checkpoint of this program?"});
    }
    double value = 0;
    const char *begin = found->second.data(), *end = begin + found->second.size();
    if (const auto read = std::from_chars(begin, end, value); read.ec != std::errc() || read.ptr != end) {
      fail(ErrorKind::data, {state.path().string() + ": metadata " + key, "a number",
                             "'" + found->second.substr(0, 40) + "'", ""});
    }
    return value;
  };
  step_ = checkpoint.step;
  last_checkpoint_ = step_;
  if (meta.count("best_step")) {
    const double best = number("best_step");
    if (!(best >= 1 && best <= static_cast<double>(step_))) {
      fail(ErrorKind::data,
           {state.path().string() + ": metadata best_step", fmt::format("a step from 1 to {}", step_),
            meta.at("best_step").substr(0, 40), ""});
    }
    best_step_ = static_cast<int64_t>(best);
    best_loss_ = number("best_loss");
  }
}

void Trainer::record(const StepResult& r, const std::optional<TaskValidation>& validation) {
  MetricsLine line{.step = step_, .seconds = r.seconds, .values = {{"loss", r.loss}}};
  for (const std::string& term : terms_) line.values.push_back({term, r.terms.at(term)});
  line.values.push_back({"gradient_norm", r.gradient_norm});
  if (validation) {
    for (const auto& value : validation->metrics) line.values.push_back(value);
  }
  line.values.push_back({"learning_rate", r.rate});
  dir_.append_metrics(line);
  Event event{.step = step_};
  for (const auto& [name, value] : line.values)
    event.scalars.push_back({"train/" + name, static_cast<float>(value)});
  events_->write(event);
}

TaskValidation Trainer::validate() {
  const Profile::Phase phase(*profile_, "validation");
  TaskValidation v = task_.validate();
  Event event{.step = step_};
  for (const auto& [name, value] : v.scalars) event.scalars.push_back({name, static_cast<float>(value)});
  events_->write(event);
  log_info(fmt::format("step {}: validation {}", step_, v.text));
  // A best step is one whose weights are kept: where a checkpoint is due, not where a signal made one.
  const bool kept = step_ % config_.checkpoint_every == 0 || is_over();
  if (kept && (!best_step_ || !(best_loss_ <= v.loss))) {
    best_step_ = step_;
    best_loss_ = v.loss;
  }
  return v;
}

void Trainer::save_pictures() {
  const Profile::Phase phase(*profile_, "pictures");
  const std::filesystem::path folder = dir_.path() / kPictures;
  make_folders(folder);
  const int64_t clips = task_.validation_clips(), pictures = std::min<int64_t>(4, clips);
  for (int64_t k = 0; k < pictures; ++k) {
    const int64_t clip = k * clips / pictures;
    const std::optional<Image> image = task_.picture(clip);
    if (!image) continue;
    const std::filesystem::path file = folder / fmt::format("step_{:06}_clip_{}.png", step_, clip);
    write_png(file.string(), *image);
    if (k == 0) {
      events_->write({.step = step_,
                      .images = {{.tag = "flow",
                                  .height = image->height,
                                  .width = image->width,
                                  .png = read_file(file, 1 << 28)}}});
    }
  }
}

// A finite step can still overflow the weights; no such checkpoint takes the place of a good one.
void Trainer::check_weights() const {
  std::vector<float> values(size_t{1} << 16);  // a part at a time: a copy of the largest tensor is 38 MB
  for (const FlatSlice& slice : params_.layout().slices) {
    for (int64_t first = 0; first < slice.count(); first += std::ssize(values)) {
      const int64_t count = std::min<int64_t>(std::ssize(values), slice.count() - first);
      state_.read(kParams, slice.offset + first, count, values.data());
      const auto bad = std::find_if_not(values.begin(), values.begin() + count,
                                        [](float value) { return std::isfinite(value); });
      if (bad == values.begin() + count) continue;
      fail(ErrorKind::diverged, {fmt::format("step {}: {}", step_, slice.name), "finite weights",
                                 fmt::format("{}", *bad), "A smaller --learning-rate may help"});
    }
  }
}

void Trainer::checkpoint() {
  if (last_checkpoint_ == step_) return;
  const Profile::Phase phase(*profile_, "checkpoint");
  check_weights();
  events_->flush();
  dir_.save_checkpoint(step_, [&](const std::filesystem::path& folder) {
    std::map<std::string, std::string> model = task_.model_metadata();
    model["step"] = std::to_string(step_);
    params_.save(folder / kModelFile, state_, {{kParams, ""}}, model);
    // Nothing that differs between two equal runs, such as times: their checkpoints are equal bit for bit.
    std::map<std::string, std::string> state{{"step", std::to_string(step_)}};
    if (best_step_) {
      state["best_step"] = std::to_string(*best_step_);
      state["best_loss"] = fmt::format("{}", best_loss_);
    }
    params_.save(folder / kStateFile, state_, moments_, state);
  });
  last_checkpoint_ = step_;
  dir_.keep(config_.keep_checkpoints, best_step_);
}

void Trainer::finish() {
  json result{{"steps", step_}, {"seconds", train_seconds_}, {"parameters", params_.count()}};
  if (has_validation()) {
    if (!last_validation_) last_validation_ = validate();  // stopped after its last checkpoint, before this
    save_pictures();
    result["validation"] = json::parse(last_validation_->json);
    result["best_step"] = *best_step_;
  }
  check_weights();
  result["checkpoint"] = (dir_.checkpoints_path() / fmt::format("step_{:06}", step_)).string();
  result_ = result.dump();
  // The checkpoint last: with it the run is complete, and what is above never runs twice for one step.
  dir_.write_result(result.dump(2) + "\n");
  checkpoint();
}

}  // namespace millrace
