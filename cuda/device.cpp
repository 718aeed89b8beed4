#include "cuda/device.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "core/error.h"

namespace millrace {

CudaHandle::~CudaHandle() {
  if (handle_) (driver_->*destroy_)(handle_);
}

CudaHandle& CudaHandle::operator=(CudaHandle&& other) noexcept {
  std::swap(driver_, other.driver_);
  std::swap(handle_, other.handle_);
  std::swap(destroy_, other.destroy_);
  return *this;
}

CudaDevice::CudaDevice(std::shared_ptr<CudaDriver> driver, std::string name, int number)
    : driver_(std::move(driver)), name_(std::move(name)), label_(fmt::format("{}:{}", name_, number)) {
  int driver_version = 0, runtime_version = 0;
  CudaProperties p;
  check(driver_->versions(driver_version, runtime_version), "the versions of driver and runtime");
  check(driver_->properties(number, p), "the GPU's properties");
  check(driver_->use_device(number), "a context");
  label_ += " (" + p.name + ")";
  description_ = p.name;
  if (p.multiprocessors) description_ += fmt::format(", {} multiprocessors", p.multiprocessors);
  description_ +=
      fmt::format(", {} MiB, compute capability {}.{}, driver {}, runtime {}", p.memory_bytes >> 20, p.major,
                  p.minor, cuda_version(driver_version), cuda_version(runtime_version));
  compute_ = make(&CudaDriver::create_stream, &CudaDriver::destroy_stream, "a stream");
  copy_ = make(&CudaDriver::create_stream, &CudaDriver::destroy_stream, "a stream");
  for (Slot& slot : slots_) {
    slot.copied = make(&CudaDriver::create_event, &CudaDriver::destroy_event, "an event");
    slot.free = make(&CudaDriver::create_event, &CudaDriver::destroy_event, "an event");
  }
}

// A slot must not go while a stream still copies from it.
CudaDevice::~CudaDevice() {
  driver_->synchronize_stream(copy_.get());
  driver_->synchronize_stream(compute_.get());
}

namespace {

// Errors of what was queued before, which the next calls are told.
bool is_told_late(int code) {
  constexpr int kFirst = 700, kLast = 799;  // errors of running kernels
  return (code >= kFirst && code <= kLast && code != kCudaLaunchOutOfResources) ||
         code == kCudaEccUncorrectable || code == kCudaUnknown;
}

}  // namespace

void CudaDevice::check(const CudaStatus& status, const char* what) const {
  if (status.ok()) return;
  const std::string words = is_told_late(status.code) ? queued_words() : "";
  fail_cuda({.where = (words.empty() ? "" : words + ": ") + label_, .expected = what, .status = status});
}

CudaHandle CudaDevice::make(CudaStatus (CudaDriver::*create)(void*&), CudaHandle::Destroy destroy,
                            const char* what) {
  void* handle = nullptr;
  check(((*driver_).*create)(handle), what);
  return {*driver_, handle, destroy};
}

void* CudaDevice::allocate(int64_t bytes) {
  void* memory = nullptr;
  const CudaStatus status = driver_->allocate(memory, align_up(bytes));
  if (status.code == kCudaOutOfMemory) {
    fail_cuda({.where = label_,
               .expected = fmt::format("{:.1f} MiB of memory, of which {:.1f} are free",
                                       static_cast<double>(bytes) / (1 << 20),
                                       static_cast<double>(available_bytes().value_or(0)) / (1 << 20)),
               .status = status});
  }
  check(status, "memory");
  return memory;
}

void CudaDevice::release(void* memory) noexcept { driver_->release(memory); }

std::optional<int64_t> CudaDevice::available_bytes() const {
  int64_t free = 0, total = 0;
  if (!driver_->memory_info(free, total).ok()) return {};
  return free;
}

void CudaDevice::upload(void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  check(driver_->copy_in(to, from, bytes, stream()), "a copy to the GPU");
  synchronize();
}

void CudaDevice::download(void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  check(driver_->copy_out(to, from, bytes, stream()), "a copy from the GPU");
  synchronize();
}

void CudaDevice::fill_bytes(void* memory, uint8_t value, int64_t bytes) {
  if (bytes) check(driver_->fill(memory, value, bytes, stream()), "memory to be filled");
}

void CudaDevice::synchronize() {
  check(driver_->synchronize_stream(stream()), "the work that is queued to be done");
  forget_queued();
}

void CudaDevice::upload_input(void* to, const void* from, int64_t bytes) {
  if (bytes > slot_bytes_) return upload(to, from, bytes);
  if (bytes == 0) return;
  Slot& slot = slots_[next_slot_];
  next_slot_ = (next_slot_ + 1) % kSlots;
  check(driver_->synchronize_event(slot.free.get()), "an input slot");
  std::memcpy(slot.pinned.get(), from, static_cast<size_t>(bytes));
  check(driver_->copy_in(slot.device.get(), slot.pinned.get(), bytes, copy_.get()), "an input's copy");
  check(driver_->record_event(slot.copied.get(), copy_.get()), "an event");
  check(driver_->wait_event(stream(), slot.copied.get()), "a wait for an event");
  check(driver_->copy_within(to, slot.device.get(), bytes, stream()), "an input's copy");
  check(driver_->record_event(slot.free.get(), stream()), "an event");
}

void CudaDevice::reserve_input(int64_t bytes) {
  if (align_up(bytes) <= slot_bytes_) return;
  synchronize();
  slot_bytes_ = 0;  // none, if one of them cannot be had
  for (Slot& slot : slots_) {
    slot.pinned = {};
    slot.device = {};
  }
  for (Slot& slot : slots_) {
    void* pinned = nullptr;
    check(driver_->allocate_pinned(pinned, align_up(bytes)), "pinned memory of the host");
    slot.pinned = {*driver_, pinned, &CudaDriver::release_pinned};
    slot.device = {*driver_, allocate(bytes), &CudaDriver::release};
  }
  slot_bytes_ = align_up(bytes);
}

int64_t CudaDevice::staging_bytes(int64_t bytes) const {
  return kSlots * std::max<int64_t>(0, align_up(bytes) - slot_bytes_);
}

class CudaReadback final : public Readback {
 public:
  CudaReadback(CudaDevice& device, int64_t bytes) : device_(device) {
    void* pinned = nullptr;
    device_.check(device_.driver_->allocate_pinned(pinned, align_up(bytes)), "pinned memory of the host");
    pinned_ = {*device_.driver_, pinned, &CudaDriver::release_pinned};
    std::memset(pinned, 0, static_cast<size_t>(align_up(bytes)));
    arrived_ = device_.make(&CudaDriver::create_event, &CudaDriver::destroy_event, "an event");
  }
  // The copy must not come when its memory is gone.
  ~CudaReadback() override { device_.driver_->synchronize_event(arrived_.get()); }

  void queue(const void* from, int64_t bytes) override {
    device_.check(device_.driver_->copy_out(pinned_.get(), from, bytes, device_.stream()),
                  "a copy from the GPU");
    device_.check(device_.driver_->record_event(arrived_.get(), device_.stream()), "an event");
  }
  const void* wait() override {
    device_.check(device_.driver_->synchronize_event(arrived_.get()), "the work that is queued to be done");
    return pinned_.get();
  }

 private:
  CudaDevice& device_;
  CudaHandle pinned_, arrived_;
};

std::unique_ptr<Readback> CudaDevice::make_readback(int64_t bytes) {
  return std::make_unique<CudaReadback>(*this, bytes);
}

class CudaRecording final : public Recording {
 public:
  CudaRecording(CudaDevice& device, CudaHandle graph) : device_(device), graph_(std::move(graph)) {}
  void launch() override {
    device_.check(device_.driver_->launch_graph(graph_.get(), device_.stream()), "a recorded step to start");
  }

 private:
  CudaDevice& device_;
  CudaHandle graph_;
};

std::unique_ptr<Recording> CudaDevice::record(const std::function<void()>& queue) {
  void* graph = nullptr;
  check(driver_->begin_capture(stream()), "to begin recording");
  try {
    queue();
  } catch (...) {
    driver_->end_capture(stream(), graph);
    const CudaHandle unused(*driver_, graph, &CudaDriver::destroy_graph);
    throw;
  }
  check(driver_->end_capture(stream(), graph), "a recording");
  return std::make_unique<CudaRecording>(*this, CudaHandle(*driver_, graph, &CudaDriver::destroy_graph));
}

}  // namespace millrace
