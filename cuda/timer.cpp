// Marks of CUDA events on the computing stream: device time, to about half a microsecond.
#include "core/timer.h"

#include "cuda/device.h"

namespace millrace {
namespace {

class CudaTimer final : public Timer {
 public:
  CudaTimer(CudaDevice& device, std::shared_ptr<CudaDriver> driver, std::string label)
      : device_(device), driver_(std::move(driver)), label_(std::move(label)) {}

  void start() override {
    device_.synchronize();
    marks_ = 0;
    started_ = HostClock::now();
    mark();
  }

  void mark() override {
    if (marks_ == events_.size()) {
      void* event = nullptr;
      check(driver_->create_timed_event(event), "an event with a time");
      events_.emplace_back(*driver_, event, &CudaDriver::destroy_event);
    }
    check(driver_->record_event(events_[marks_++].get(), device_.stream()), "an event");
  }

  std::vector<double> read() override {
    device_.synchronize();
    std::vector<double> seconds;
    for (size_t k = 1; k < marks_; ++k) {
      double elapsed = 0;
      check(driver_->elapsed_seconds(events_[0].get(), events_[k].get(), elapsed), "the time of an event");
      seconds.push_back(elapsed);
    }
    return seconds;
  }

 private:
  void check(const CudaStatus& status, const char* what) const {
    if (!status.ok()) fail_cuda({.where = label_, .expected = what, .status = status});
  }

  CudaDevice& device_;
  std::shared_ptr<CudaDriver> driver_;
  std::string label_;
  std::vector<CudaHandle> events_;  // kept from one start() to the next
  size_t marks_ = 0;
};

}  // namespace

std::unique_ptr<Timer> CudaDevice::make_timer() {
  return std::make_unique<CudaTimer>(*this, driver_, label_);
}

}  // namespace millrace
