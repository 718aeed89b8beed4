#include "core/timer.h"

#include <numeric>

#include "core/session.h"

namespace millrace {
namespace {

// Right for any device, but where work is done beside the host each mark is a wait.
class HostTimer final : public Timer {
 public:
  explicit HostTimer(Device& device) : device_(device) {}
  void start() override {
    device_.synchronize();
    marks_.clear();
    started_ = HostClock::now();
  }
  void mark() override {
    device_.synchronize();
    marks_.push_back(std::chrono::duration<double>(HostClock::now() - started_).count());
  }
  std::vector<double> read() override { return marks_; }

 private:
  Device& device_;
  std::vector<double> marks_;
};

}  // namespace

std::unique_ptr<Timer> Device::make_timer() { return std::make_unique<HostTimer>(*this); }

double StepTimes::total() const { return std::accumulate(seconds.begin(), seconds.end(), 0.0); }

StepTimes Session::run_timed() {
  if (!timer_) timer_ = device_.make_timer();
  StepTimes times;
  timer_->start();
  times.start = timer_->started();
  device_.note_queued(nodes_);
  for (size_t k = 0; k < launches_.size(); ++k) {
    launch(k);
    timer_->mark();
  }
  times.queued = HostClock::now();
  double before = 0;
  for (const double at : timer_->read()) {
    times.seconds.push_back(at - before);
    before = at;
  }
  return times;
}

}  // namespace millrace
