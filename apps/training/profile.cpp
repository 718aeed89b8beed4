#include "apps/training/profile.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/files.h"
#include "core/libraries.h"
#include "core/log.h"

namespace millrace {
namespace {

HostClock::time_point after(HostClock::time_point start, double seconds) {
  return start + std::chrono::duration_cast<HostClock::duration>(std::chrono::duration<double>(seconds));
}

std::string specs_text(const Plan& plan, const std::vector<Value>& values) {
  std::string text;
  for (const Value v : values)
    text += (text.empty() ? "" : " ") + plan.specs[static_cast<size_t>(v.id)].to_string();
  return text;
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v.empty() ? 0 : v[v.size() / 2];
}

}  // namespace

Profile::Phase::Phase(Profile& profile, const char* name, Track track)
    : profile_(profile),
      name_(name),
      track_(track),
      begin_(HostClock::now()),
      range_(profile.device_, name) {}

Profile::Phase::~Phase() {
  if (profile_.mode_ != Mode::traced || begin_ < profile_.step_begin_) return;
  profile_.trace_.add(
      {.track = track_, .name = name_, .category = "host", .begin = begin_, .end = HostClock::now()});
}

Profile::Profile(Device& device, ProfileOptions options)
    : device_(device),
      options_(std::move(options)),
      trace_("motionnet-train", {"loader", "host", "device"}) {}

void Profile::begin_step(int64_t step) {
  if (options_.steps == 0 || written_) return;
  end_step();
  const int64_t k = begun_++;
  if (k == 0) {
    log_info(fmt::format("steps {} to {} will be traced; their nodes are queued one by one",
                         step + kWarmUpSteps + kWholeSteps,
                         step + kWarmUpSteps + kWholeSteps + options_.steps - 1));
  }
  if (k >= kWarmUpSteps + kWholeSteps + options_.steps) return write();
  step_ = step;
  seconds_ = 0;
  if (k >= kWarmUpSteps) mode_ = k < kWarmUpSteps + kWholeSteps ? Mode::whole : Mode::traced;
  if (mode_ == Mode::traced) device_.synchronize();  // what was queued before is no part of it
  step_begin_ = HostClock::now();
}

void Profile::end_step() {
  if (mode_ == Mode::whole) whole_.push_back(seconds_);
  if (mode_ == Mode::traced) {
    traced_.push_back(seconds_);
    trace_.add({.track = host,
                .name = fmt::format("step {}", step_),
                .category = "step",
                .begin = step_begin_,
                .end = HostClock::now(),
                .values = {{"step", std::to_string(step_)}, {"device seconds", json_number(seconds_)}}});
  }
  mode_ = Mode::off;
}

void Profile::run(Session& session, const std::string& plan) {
  if (mode_ == Mode::off) return session.run();
  if (mode_ == Mode::whole) {
    if (!timer_) timer_ = device_.make_timer();
    timer_->start();
    session.run();
    timer_->mark();
    seconds_ += timer_->read().front();
    recorded_ = session.recorded();
    return;
  }
  const StepTimes times = session.run_timed();
  seconds_ += times.total();
  trace_.add({.track = host,
              .name = "queue " + plan,
              .category = "host",
              .begin = times.start,
              .end = times.queued});
  add_nodes(session.plan(), plan, times);
}

void Profile::add_nodes(const Plan& plan, const std::string& name, const StepTimes& times) {
  double at = 0;
  for (size_t k = 0; k < plan.steps.size(); ++k) {
    const PlanStep& step = plan.steps[k];
    const double seconds = times.seconds[k];
    trace_.add({.track = device,
                .name = step.name,
                .category = std::string(step.op->name()),
                .begin = after(times.start, at),
                .end = after(times.start, at + seconds),
                .values = {{"op", json_text(std::string(step.op->name()))},
                           {"attributes", json_text(step.op->attributes())},
                           {"kernel", json_text(step.kernel->version)},
                           {"implementation", json_text(step.prepared.implementation)},
                           {"in", json_text(specs_text(plan, step.in))},
                           {"out", json_text(specs_text(plan, step.out))},
                           {"FLOP", json_number(step.cost.flop)},
                           {"bytes", json_number(step.cost.bytes)},
                           {"GFLOP/s", json_number(step.cost.flop / seconds / 1e9)},
                           {"GB/s", json_number(step.cost.bytes / seconds / 1e9)}}});
    at += seconds;
  }
  trace_.add({.track = device,
              .name = name,
              .category = "plan",
              .begin = times.start,
              .end = after(times.start, at),
              .values = {{"step", std::to_string(step_)},
                         {"nodes", std::to_string(plan.steps.size())},
                         {"FLOP", json_number(plan.cost.flop)},
                         {"bytes", json_number(plan.cost.bytes)}}});
}

void Profile::finish() {
  if (options_.steps == 0 || written_) return;
  end_step();
  write();
}

void Profile::write() {
  written_ = true;
  if (traced_.empty()) {
    return log_warning(fmt::format("--profile: no step was traced, the run ended in the {} before them",
                                   kWarmUpSteps + kWholeSteps));
  }
  trace_.note("device", json_text(device_.description()));
  trace_.note("libraries", json_text(library_versions()));
  trace_.note("precision", json_text(options_.precision));
  trace_.note("traced steps", std::to_string(traced_.size()));
  trace_.note("device seconds of a traced step", json_number(median(traced_)));
  trace_.note("device seconds of a whole step", json_number(median(whole_)));
  trace_.note("whole steps recorded", recorded_ ? "true" : "false");
  try {
    write_file_atomically(options_.file, trace_.to_json());
  } catch (const Error& e) {
    return log_warning(std::string("--profile: ") + e.what());
  }
  log_info(
      fmt::format("{}: {} of {} steps, {:.3f} ms each on the device, {:.3f} ms as a whole{}; "
                  "chrome://tracing and ui.perfetto.dev open it",
                  options_.file.string(), traced_.size(), options_.steps, median(traced_) * 1e3,
                  median(whole_) * 1e3, recorded_ ? ", recorded" : ""));
  trace_ = Trace("", {});
}

}  // namespace millrace
