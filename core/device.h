// Device: memory and order of execution. It computes nothing; kernels do (core/registry.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace millrace {

// Work that was recorded once and can be queued again as one.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void launch() = 0;
};

// A copy to the host that is waited for by itself, while work behind it goes on.
class Readback {
 public:
  virtual ~Readback() = default;
  virtual void queue(const void* from, int64_t bytes) = 0;  // behind what is queued
  // What was copied, valid until the next queue(). Nothing was queued: zeros.
  virtual const void* wait() = 0;
};

class Timer;

// Work is queued and done in order, on the CPU at once. A device is used by the thread that made it.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;         // "cpu": the key of the registry
  virtual std::string description() const = 0;  // for people and env.json
  // Memory aligned to kAlignment bytes. Throws when there is not enough.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  // Nothing where only the attempt to use it would tell, as on a CPU.
  virtual std::optional<int64_t> available_bytes() const { return {}; }

  // Host to device, behind what is queued. The host's memory is free again on return.
  virtual void upload(void* to, const void* from, int64_t bytes) = 0;
  virtual void download(void* to, const void* from, int64_t bytes) = 0;  // device to host, when all is done
  virtual void fill_bytes(void* memory, uint8_t value, int64_t bytes) = 0;
  virtual void synchronize() = 0;  // waits until all that is queued is done

  // The same as upload(), for what a step reads: where the device can, the copy runs beside the step that is
  // queued, through memory that reserve_input() has set aside for uploads of up to `bytes`.
  virtual void upload_input(void* to, const void* from, int64_t bytes) { upload(to, from, bytes); }
  virtual void reserve_input(int64_t /*bytes*/) {}
  // Of the device's memory, that reserve_input(bytes) would newly take.
  virtual int64_t staging_bytes(int64_t /*bytes*/) const { return 0; }

  // Whether the host goes on while work that it queued is being done.
  virtual bool works_beside_host() const { return false; }
  // Of up to `bytes`.
  virtual std::unique_ptr<Readback> make_readback(int64_t bytes);

  virtual void* stream() const { return nullptr; }  // for KernelArgs::stream
  virtual std::unique_ptr<Timer> make_timer();      // core/timer.h
  // What the host does from here to the matching end, for a profiler (NVTX). They nest.
  virtual void begin_range(const char* /*name*/) {}
  virtual void end_range() {}
  // Records what `queue` queues, in place of doing it. Null where a device cannot.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& /*queue*/) { return nullptr; }

  // What is being queued, in words, for the error of a fault that is told only when the device is waited for.
  void note_queued(const std::shared_ptr<const std::string>& what);

 protected:
  std::string queued_words() const;  // "one of ..., or one of ...": all that was not yet waited for
  void forget_queued() { queued_.clear(); }

 private:
  std::vector<std::shared_ptr<const std::string>> queued_;
};

constexpr int64_t kAlignment = 256;  // bytes: of arena offsets, parameters and allocations
constexpr int64_t align_up(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// "cpu", "cuda", "cuda:1", "cuda-sim", of the backends that were registered, or "auto": a GPU where one can
// be used, else the CPU, with a line in the log that says why. "cuda" is the GPU that is in use already, or
// else the first that can be. Throws ErrorKind::device.
std::unique_ptr<Device> make_device(const std::string& name);

// What there is on this machine, for people.
struct FoundDevice {
  std::string name;          // as make_device() takes it
  std::string description;   // "NVIDIA H200"
  std::string trouble = {};  // why it cannot be used; empty: it can
  int64_t multiprocessors = 0;
  int64_t memory_bytes = 0, free_bytes = 0;
  std::string capability = {};  // "9.0"
};
struct FoundDevices {
  std::vector<FoundDevice> devices = {};
  std::string trouble = {};               // why none can be used; empty: one can
  std::string driver = {}, runtime = {};  // versions of CUDA
  std::string code = {};                  // what kernels were compiled for
};

// Devices of one kind. A backend is added to the Registry beside its kernels.
struct Backend {
  std::string name;        // "cuda": Device::name()
  bool automatic = false;  // may be taken by "auto", before the CPU
  std::function<FoundDevices()> find = {};
  std::function<std::unique_ptr<Device>(std::optional<int> number)> make = {};
  // Those that kernels call: a version of one may compute by other code. "cuDNN 9.19.0"; empty: none.
  std::function<std::string()> libraries = {};
};

// What a run will take of a device, from its plans.
struct MemoryNeed {
  int64_t arena = 0, inputs = 0, state = 0;
  int64_t staging = 0;  // Device::staging_bytes()
  int64_t total() const { return arena + inputs + state + staging; }
};
// Throws ErrorKind::device where the device says that it has less.
void require_memory(const Device& device, const MemoryNeed& need);

// Memory of a device, released with the object.
class Memory {
 public:
  Memory() = default;
  Memory(Device& device, int64_t bytes)
      : device_(&device), data_(bytes ? device.allocate(bytes) : nullptr), bytes_(bytes) {}
  ~Memory() { reset(); }
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  char* at(int64_t offset) const { return static_cast<char*>(data_) + offset; }

 private:
  void reset() {
    if (data_) device_->release(data_);
    data_ = nullptr;
  }

  Device* device_ = nullptr;
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace millrace
