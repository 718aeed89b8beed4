// The loop of a training run: steps are queued ahead of the numbers that they give.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/support/program.h"
#include "apps/training/trainer.h"
#include "core/log.h"

namespace millrace {
namespace {

// Of the session that does micro-batch k.
const char* session_name(const RunConfig& c, int64_t k) {
  if (c.accumulate == 1) return "step";
  return k == 0 ? "first" : "next";
}

bool all_finite(const std::vector<double>& row) {
  return std::all_of(row.begin(), row.end(), [](double x) { return std::isfinite(x); });
}

}  // namespace

double Trainer::learning_rate_of(int64_t step) const {
  return rate_at(schedule_options(config_), step - 1) * restart_factor(restarts_, step);
}

double Trainer::rate_of(int64_t step) const {
  return update_rate(optimizer_options(config_), learning_rate_of(step), step);
}

Batch Trainer::next_batch() {
  const Profile::Phase phase(*profile_, "wait for a batch", Profile::loader);
  return loader_->next();
}

void Trainer::upload(Session& session, const Batch& batch, int64_t micro_batch) {
  const Profile::Phase phase(*profile_, "upload");
  task_.bind(session, batch, micro_batch);
}

// The next batch is decoded, and copied to the device, while the steps before are computed there.
void Trainer::queue_step() {
  if (metrics_->queued() == 0) last_step_ = std::chrono::steady_clock::now();
  profile_->begin_step(queued_step() + 1);
  const double rate = rate_of(queued_step() + 1);
  const int64_t first = queued_step() * config_.accumulate;
  if (config_.accumulate == 1) sessions_.at("step")->set_scalar("rate", rate);
  for (int64_t k = 0; k < config_.accumulate; ++k) {
    Session& session = *sessions_.at(session_name(config_, k));
    upload(session, next_batch(), first + k);
    profile_->run(session, session_name(config_, k));
  }
  if (config_.accumulate > 1) {
    Session& update = *sessions_.at("update");
    update.set_scalar("rate", rate);
    profile_->run(update, "update");
  }
  metrics_->queue();
}

int64_t Trainer::may_be_in_flight() const {
  const int64_t step = queued_step();
  const bool due =
      is_due(step, config_.checkpoint_every) ||
      (has_validation() && (is_due(step, config_.validate_every) || is_due(step, config_.pictures_every)));
  const bool ends = step >= config_.iterations || is_over() || stop_requested();
  return due || ends || !device_->works_beside_host() ? 0 : kStepsInFlight;
}

std::vector<std::vector<double>> Trainer::read_rows() {
  const Profile::Phase phase(*profile_, "read numbers");
  return metrics_->next();
}

// The mean over micro-batches; where one is not finite, its own loss.
Trainer::StepResult Trainer::read_step() {
  const std::vector<std::vector<double>> rows = read_rows();
  StepResult result;
  result.rate = learning_rate_of(step_ + 1);
  const double share = 1.0 / static_cast<double>(config_.accumulate);
  for (int64_t k = 0; k < config_.accumulate; ++k) {
    const std::vector<double>& row = rows[static_cast<size_t>(k)];
    if (!std::isfinite(row[0])) {
      result.loss = row[0];
      diverged(result);
    }
    result.loss += row[0] * share;
    for (size_t t = 0; t < terms_.size(); ++t) result.terms[terms_[t]] += row[1 + t] * share;
  }
  result.gradient_norm = rows.back()[config_.accumulate == 1 ? 1 + terms_.size() : 1];
  if (!std::all_of(rows.begin(), rows.end(), all_finite)) diverged(result);
  const auto now = std::chrono::steady_clock::now();
  result.seconds = std::chrono::duration<double>(now - last_step_).count();
  last_step_ = now;
  return result;
}

// Nothing has moved since (optim/metrics.h), and the loader gives the step's batches once more.
std::optional<BadNode> Trainer::find_bad_node() {
  device_->synchronize();
  metrics_->reset();
  loader_->seek(step_ * config_.accumulate * config_.batch);
  for (int64_t k = 0; k < config_.accumulate; ++k) {
    Session& session = *sessions_.at(session_name(config_, k));
    upload(session, next_batch(), step_ * config_.accumulate + k);
    if (config_.accumulate == 1) session.set_scalar("rate", rate_of(step_ + 1));
    if (const std::optional<BadNode> bad = session.run_checked()) return bad;
  }
  return {};
}

void Trainer::diverged(const StepResult& result) {
  const std::optional<BadNode> bad = find_bad_node();
  const std::string last =
      last_checkpoint_ < 0
          ? ""
          : fmt::format(" in a new run, which --init {} starts from the last good checkpoint, of step {}",
                        options_.out, last_checkpoint_);
  fail(ErrorKind::diverged,
       {fmt::format("step {}", step_ + 1), "a finite loss and gradient",
        fmt::format("loss {} and gradient norm {}, first in {}", result.loss, result.gradient_norm,
                    bad ? bad->to_string() : "the sum over batches"),
        "A smaller --learning-rate, --warmup or --clip may help, or --on-diverge restart, which goes on with "
        "smaller steps" +
            last});
}

bool Trainer::is_over() const {
  return step_ >= config_.iterations || (config_.max_seconds > 0 && train_seconds_ >= config_.max_seconds);
}

ProgressUpdate Trainer::progress_of(const StepResult& r) const {
  ProgressUpdate update{.done = step_,
                        .status = task_.step_text(r.loss, r.terms),
                        .detail = fmt::format("|g| {:.3g}", r.gradient_norm)};
  if (config_.max_seconds > 0) update.seconds_left = std::max(0., config_.max_seconds - train_seconds_);
  return update;
}

int Trainer::run() {
  catch_signals();
  try {
    const int code = run_steps();
    profile_->finish();
    return code;
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::device) throw;
    throw Error(e.kind(),
                fmt::format("{}. --resume --out {} goes on from {}", e.what(), options_.out,
                            last_checkpoint_ < 0 ? "the start" : fmt::format("step {}", last_checkpoint_)));
  }
}

// What is due behind a step finds the device with nothing behind it (may_be_in_flight).
void Trainer::finish_step(ProgressBar& bar) {
  const StepResult result = read_step();
  ++step_;
  train_seconds_ += result.seconds;
  last_validation_.reset();
  const bool last = is_over() && metrics_->queued() == 0;
  if (has_validation() && (last || is_due(step_, config_.validate_every))) last_validation_ = validate();
  record(result, last_validation_);
  bar.update(progress_of(result));
  if (has_validation() && is_due(step_, config_.pictures_every)) save_pictures();
  if (is_due(step_, config_.checkpoint_every)) checkpoint();
}

bool Trainer::may_restart() const {
  return config_.on_diverge == "restart" && std::ssize(restarts_) < kMostRestarts;
}

void Trainer::restart(const Error& why) {
  device_->synchronize();
  metrics_->reset();
  const std::optional<Checkpoint> latest = dir_.latest();
  restarts_.push_back({.from = latest ? latest->step : 0, .diverged = step_ + 1});
  write_restarts(dir_.path(), restarts_);
  log_warning(fmt::format("{}. Restart {} of {}: from {} at {} of the rate for {} steps", why.what(),
                          restarts_.size(), kMostRestarts,
                          latest ? fmt::format("step {}", latest->step) : "the start",
                          restart_factor(restarts_, restarts_.back().from + 1), kSlowSteps));
  best_step_.reset();
  last_validation_.reset();
  latest ? load_checkpoint(*latest) : load_start();
  events_.reset();  // the file is cut
  go_back_to_step();
  events_ = std::make_unique<EventWriter>(dir_.events_path());
}

void Trainer::step_once(ProgressBar& bar) {
  try {
    queue_step();
  } catch (const Error& e) {  // of the data: what was queued before is told first
    while (e.kind() != ErrorKind::device && metrics_->queued() > 0) finish_step(bar);
    throw;
  }
  while (metrics_->queued() > may_be_in_flight()) finish_step(bar);
}

int Trainer::run_steps() {
  ProgressBar bar(log(), {.title = "train", .total = config_.iterations, .start = step_});
  while (!is_over()) {
    try {
      step_once(bar);
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::diverged || !may_restart()) throw;
      restart(e);
    }
    if (stop_requested() && metrics_->queued() == 0 && !is_over()) {
      checkpoint();
      log_info(fmt::format("stopped by a signal after step {}; go on with --resume --out {}", step_,
                           options_.out));
      return kExitInterrupted;
    }
  }
  bar.finish();
  if (step_ < config_.iterations)
    log_info(fmt::format("--max-seconds {} are over after step {}", config_.max_seconds, step_));
  finish();
  return 0;
}

}  // namespace millrace
