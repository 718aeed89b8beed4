// Device: memory and order of execution. It computes nothing; kernels do (core/registry.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace millrace {

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;         // "cpu": the key of the registry
  virtual std::string description() const = 0;  // for people and env.json
  // Memory aligned to kAlignment bytes. Throws when there is not enough.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  virtual void upload(void* to, const void* from, int64_t bytes) = 0;    // host to device
  virtual void download(void* to, const void* from, int64_t bytes) = 0;  // device to host
  virtual void fill_bytes(void* memory, uint8_t value, int64_t bytes) = 0;
  virtual void synchronize() = 0;
};

constexpr int64_t kAlignment = 256;  // bytes: of arena offsets, parameters and allocations
constexpr int64_t align_up(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// "auto" or "cpu". Throws ErrorKind::device with the names that exist.
std::unique_ptr<Device> make_device(const std::string& name);

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
