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

  // A buffer of zeros; nothing happens when it exists with this type and size, and with another it throws.
  void create(const std::string& name, Dtype dtype, int64_t count);
  bool has(const std::string& name) const { return buffers_.count(name) > 0; }
  // Throws when there is no such buffer.
  const Tensor& at(const std::string& name) const;
  std::vector<std::string> names() const;
  Device& device() const { return device_; }

  // Elements [offset, offset + count). Throw when they are not in the buffer or it is not of type T.
  template <class T> void read(const std::string& name, int64_t offset, int64_t count, T* to) const {
    device_.download(to, part(name, {offset, count, dtype_of<T>()}), count * static_cast<int64_t>(sizeof(T)));
  }
  template <class T> void write(const std::string& name, int64_t offset, int64_t count, const T* from) {
    device_.upload(part(name, {offset, count, dtype_of<T>()}), from, count * static_cast<int64_t>(sizeof(T)));
  }

 private:
  struct Buffer {
    Memory memory;
    Tensor tensor;
  };
  struct Part {
    int64_t offset, count;
    Dtype dtype;
  };
  void* part(const std::string& name, const Part& p) const;

  Device& device_;
  std::map<std::string, Buffer> buffers_;
};

}  // namespace millrace
