// Memory that a kernel under test runs in, and that shows what it wrote where nothing is its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/op.h"
#include "core/tensor.h"

namespace millrace::check {

// Memory with a guard zone on both sides, all of it one pattern before the kernel runs.
class Guarded {
 public:
  Guarded(const Spec& spec, uint8_t pattern)
      : bytes_(spec.bytes()),
        pattern_(pattern),
        memory_(static_cast<size_t>(bytes_ + 2 * kGuard + kAlignment), pattern) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data()) + kGuard;
    data_ = reinterpret_cast<uint8_t*>((address + kAlignment - 1) / kAlignment * kAlignment);
    tensor = {.data = data_, .shape = spec.shape, .dtype = spec.dtype};
  }
  bool intact() const {
    const uint8_t* begin = memory_.data();
    const uint8_t* end = begin + memory_.size();
    return std::all_of(begin, static_cast<const uint8_t*>(data_), [&](uint8_t b) { return b == pattern_; }) &&
           std::all_of(static_cast<const uint8_t*>(data_) + bytes_, end,
                       [&](uint8_t b) { return b == pattern_; });
  }
  std::vector<uint8_t>& memory() { return memory_; }
  Tensor tensor;

 private:
  static constexpr int64_t kGuard = 256;
  int64_t bytes_;
  uint8_t pattern_;
  std::vector<uint8_t> memory_;
  uint8_t* data_;
};

// The buffers where a device can reach them: copies in its memory, guards and all, from construction to
// fetch().
class OnDevice {
 public:
  OnDevice(const std::string& device, std::vector<Guarded>& buffers)
      : device_(make_device(device)), buffers_(buffers) {
    for (Guarded& b : buffers) {
      const auto bytes = static_cast<int64_t>(b.memory().size());
      copies_.emplace_back(*device_, bytes + kAlignment);
      device_->upload(start(copies_.size() - 1), b.memory().data(), bytes);
    }
  }
  // Aligned as its original is.
  Tensor tensor(size_t b) const {
    Tensor t = buffers_[b].tensor;
    t.data = start(b) + (buffers_[b].tensor.as<uint8_t>() - buffers_[b].memory().data());
    return t;
  }
  void* stream() const { return device_->stream(); }
  void fetch() {
    for (size_t b = 0; b < buffers_.size(); ++b) {
      std::vector<uint8_t>& memory = buffers_[b].memory();
      device_->download(memory.data(), start(b), static_cast<int64_t>(memory.size()));
    }
  }

 private:
  uint8_t* start(size_t b) const {
    const auto original = reinterpret_cast<uintptr_t>(buffers_[b].memory().data());
    return reinterpret_cast<uint8_t*>(copies_[b].at(static_cast<int64_t>(original % kAlignment)));
  }

  std::unique_ptr<Device> device_;
  std::vector<Guarded>& buffers_;
  std::vector<Memory> copies_;
};

}  // namespace millrace::check
