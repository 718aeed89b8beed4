// State: what outlives a step. Named flat buffers (parameters, gradients, moments) on one device, shared by
// all sessions of a run.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"

namespace millrace {

class State {
 public:
  explicit State(Device& device) : device_(device) {}

  // A buffer of zeros; nothing happens when it exists with this type and size.
  void create(const std::string& name, Dtype dtype, int64_t count);
  bool has(const std::string& name) const { return buffers_.count(name) > 0; }
  // Throws when there is no such buffer.
  const Tensor& at(const std::string& name) const;
  std::vector<std::string> names() const;
  Device& device() const { return device_; }

  template <class T> void read(const std::string& name, int64_t offset, int64_t count, T* to) const {
    device_.download(to, at(name).as<T>() + offset, count * static_cast<int64_t>(sizeof(T)));
  }
  template <class T> void write(const std::string& name, int64_t offset, int64_t count, const T* from) {
    device_.upload(at(name).as<T>() + offset, from, count * static_cast<int64_t>(sizeof(T)));
  }

 private:
  struct Buffer {
    Memory memory;
    Tensor tensor;
  };
  Device& device_;
  std::map<std::string, Buffer> buffers_;
};

}  // namespace millrace
