// A training run: a run directory, a loader, sessions, and the loop that joins them. What is trained is a
// TrainingTask.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "apps/training/kernel_settings.h"
#include "apps/training/metrics_reader.h"
#include "apps/training/profile.h"
#include "apps/training/restarts.h"
#include "apps/training/task.h"
#include "core/events.h"
#include "core/log.h"
#include "core/run_dir.h"

namespace millrace {

struct RunOptions {
  std::string out;
  bool resume = false;
  bool allow_drift = false;  // resume on another machine, build or number of threads
  int64_t profile = 0;       // steps to be traced
};

class Trainer {
 public:
  // For a new run: makes the folder, draws or loads the weights. To resume: loads the latest checkpoint and
  // cuts metrics and events back to it; the task's options must be the run's own. The task outlives this.
  Trainer(TrainingTask& task, const RunOptions& options);
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // Trains to config.iterations or max_seconds. Returns the exit code: 0, or 75 after a signal and a
  // checkpoint. Throws ErrorKind::diverged when a loss or gradient is not finite and the run may not restart.
  int run();
  // What result.json holds.
  const std::string& result() const { return result_; }

 private:
  struct StepResult {
    double loss = 0, gradient_norm = 0, rate = 0, seconds = 0;
    std::map<std::string, double> terms;
  };

  void set_up();
  bool has_validation() const { return task_.validation_clips() > 0; }
  // Whether the run ends here: by --iterations or --max-seconds.
  bool is_over() const;
  void load_checkpoint(const Checkpoint& checkpoint);
  void start_new_run();
  void resume_run();
  void go_back_to_step();
  // Begins again from the latest checkpoint, or the start, behind a step that was not finite.
  bool may_restart() const;
  void restart(const Error& why);
  void load_start();
  void check_environment() const;
  void check_disk() const;
  // trainer_steps.cpp. Steps are queued, at most kStepsInFlight before the first of them has told its
  // numbers, and finished in their order; step_ counts those that are finished.
  int run_steps();
  int64_t queued_step() const { return step_ + metrics_->queued(); }
  bool is_due(int64_t step, int64_t every) const { return every > 0 && step % every == 0 && !is_over(); }
  // What may be in flight behind the step that was queued last: nothing where something is due there.
  int64_t may_be_in_flight() const;
  // Steps count from 1.
  double learning_rate_of(int64_t step) const;
  double rate_of(int64_t step) const;  // update_rate
  Batch next_batch();
  void upload(Session& session, const Batch& batch, int64_t micro_batch);
  void queue_step();
  void finish_step(ProgressBar& bar);
  void step_once(ProgressBar& bar);
  std::vector<std::vector<double>> read_rows();
  StepResult read_step();
  [[noreturn]] void diverged(const StepResult& result);
  std::optional<BadNode> find_bad_node();
  void record(const StepResult& result, const std::optional<TaskValidation>& validation);
  ProgressUpdate progress_of(const StepResult& result) const;
  TaskValidation validate();
  void save_pictures();
  void check_weights() const;
  void checkpoint();
  void finish();
  std::string environment() const;

  TrainingTask& task_;
  const RunConfig& config_;
  RunOptions options_;
  std::unique_ptr<Device> device_;
  State state_;
  ParamStore params_;
  KernelSettings kernels_;
  PlanOptions plan_options_;
  std::map<std::string, Plan> plans_;
  RunDir dir_;
  std::unique_ptr<EventWriter> events_;
  std::unique_ptr<Memory> arena_;
  std::map<std::string, std::unique_ptr<Session>> sessions_;
  std::unique_ptr<Loader> loader_;
  std::vector<std::string> terms_;
  std::vector<ParamStore::Part> moments_;
  std::unique_ptr<MetricsReader> metrics_;
  std::unique_ptr<Profile> profile_;
  std::chrono::steady_clock::time_point last_step_;  // when it ended, or the first of those in flight began

  int64_t step_ = 0;  // updates done
  int64_t last_checkpoint_ = -1;
  double train_seconds_ = 0;                       // of steps, over all sessions of the run
  std::optional<TaskValidation> last_validation_;  // of step_, in this process
  std::optional<int64_t> best_step_;
  double best_loss_ = 0;
  std::vector<Restart> restarts_;
  std::string result_;
};

}  // namespace millrace
