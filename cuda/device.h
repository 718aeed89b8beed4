// CudaDevice: the engine's Device on a CudaDriver, and what there is of GPUs to choose from. The same code
// runs on CUDA and on the simulation.
//
// One stream computes. Inputs of a step arrive beside it: the host copies them into a pinned slot, a second
// stream takes them to a slot on the device, and the computing stream, once that is done, to the input's own
// address. So the copy over the bus runs while the step before is computing, and a recorded step finds its
// inputs always at one address.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/device.h"
#include "cuda/driver.h"

namespace millrace {

class Registry;

// A handle of the driver, destroyed with the object. What the driver says to that is not asked: after a fault
// every call fails, and the first one was told.
class CudaHandle {
 public:
  using Destroy = CudaStatus (CudaDriver::*)(void*);
  CudaHandle() = default;
  CudaHandle(CudaDriver& driver, void* handle, Destroy destroy)
      : driver_(&driver), handle_(handle), destroy_(destroy) {}
  ~CudaHandle();
  CudaHandle(CudaHandle&& other) noexcept { *this = std::move(other); }
  CudaHandle& operator=(CudaHandle&& other) noexcept;

  void* get() const { return handle_; }

 private:
  CudaDriver* driver_ = nullptr;
  void* handle_ = nullptr;
  Destroy destroy_ = nullptr;
};

class CudaDevice final : public Device {
 public:
  // `name` is the key of its kernels, `number` that of the GPU. Throws where the GPU cannot be used.
  CudaDevice(std::shared_ptr<CudaDriver> driver, std::string name, int number);
  ~CudaDevice() override;

  std::string name() const override { return name_; }
  std::string description() const override { return description_; }
  void* allocate(int64_t bytes) override;
  void release(void* memory) noexcept override;
  std::optional<int64_t> available_bytes() const override;

  void upload(void* to, const void* from, int64_t bytes) override;
  void download(void* to, const void* from, int64_t bytes) override;
  void fill_bytes(void* memory, uint8_t value, int64_t bytes) override;
  void synchronize() override;

  void upload_input(void* to, const void* from, int64_t bytes) override;
  void reserve_input(int64_t bytes) override;
  int64_t staging_bytes(int64_t bytes) const override;

  bool works_beside_host() const override { return true; }
  std::unique_ptr<Readback> make_readback(int64_t bytes) override;

  void* stream() const override { return compute_.get(); }
  std::unique_ptr<Timer> make_timer() override;
  void begin_range(const char* name) override { driver_->push_range(name); }
  void end_range() override { driver_->pop_range(); }
  std::unique_ptr<Recording> record(const std::function<void()>& queue) override;

 private:
  friend class CudaRecording;
  friend class CudaReadback;
  static constexpr int kSlots = 3;  // one is written, one copied, one read
  struct Slot {
    CudaHandle pinned, device;
    CudaHandle copied;  // event: the slot on the device is full
    CudaHandle free;    // event: it was read
  };

  void check(const CudaStatus& status, const char* what) const;
  CudaHandle make(CudaStatus (CudaDriver::*create)(void*&), CudaHandle::Destroy destroy, const char* what);

  std::shared_ptr<CudaDriver> driver_;
  std::string name_, label_, description_;
  CudaHandle compute_, copy_;  // streams
  std::array<Slot, kSlots> slots_;
  int64_t slot_bytes_ = 0;
  size_t next_slot_ = 0;
};

// "13.0" of 13000.
std::string cuda_version(int version);

// Whether code that was compiled for `architectures` (CudaDriver::architectures) runs on a GPU: real code
// within its major version from its minor version on, virtual code on whatever is not older. Words that are
// not understood, such as "native", are taken to fit.
bool has_code_for(const std::string& architectures, int major, int minor);

// The error for a status: what it means here, and what to do. `driver` is the driver's version, where known.
struct CudaFailure {
  std::string where;  // "cuda:0 (NVIDIA H200)"
  std::string expected;
  CudaStatus status;
  int driver = -1, runtime = -1;
};
[[noreturn]] void fail_cuda(const CudaFailure& failure);

FoundDevices find_cuda_devices(CudaDriver& driver, const std::string& name);

// `automatic`: may be taken by --device auto.
struct CudaBackend {
  std::string name;
  bool automatic = false;
  std::shared_ptr<CudaDriver> driver;
  std::function<std::string()> libraries = {};  // Backend::libraries
};
void add_cuda_backend(Registry& registry, const CudaBackend& backend);

}  // namespace millrace
