#include "core/state.h"

#include "core/error.h"

namespace millrace {

void State::create(const std::string& name, Dtype dtype, int64_t count) {
  if (auto found = buffers_.find(name); found != buffers_.end()) {
    const Tensor& t = found->second.tensor;
    if (t.dtype == dtype && t.count() == count) return;
    fail(ErrorKind::runtime,
         {"state " + name, std::to_string(t.count()) + " x " + std::string(name_of(t.dtype)),
          std::to_string(count) + " x " + std::string(name_of(dtype)), ""});
  }
  const int64_t bytes = count * size_of(dtype);
  Buffer buffer{Memory(device_, bytes), {}};
  device_.fill_bytes(buffer.memory.data(), 0, bytes);
  buffer.tensor = {.data = buffer.memory.data(), .shape = {count}, .dtype = dtype};
  buffers_.emplace(name, std::move(buffer));
}

const Tensor& State::at(const std::string& name) const {
  auto found = buffers_.find(name);
  if (found == buffers_.end())
    fail(ErrorKind::runtime, {"state", "a buffer '" + name + "'", "none of that name", ""});
  return found->second.tensor;
}

void* State::part(const std::string& name, const Part& p) const {
  const Tensor& t = at(name);
  if (t.dtype != p.dtype || p.offset < 0 || p.count < 0 || p.offset > t.count() - p.count) {
    fail(ErrorKind::runtime,
         {"state " + name, std::to_string(t.count()) + " x " + std::string(name_of(t.dtype)),
          std::to_string(p.count) + " x " + std::string(name_of(p.dtype)) + " from " +
              std::to_string(p.offset),
          ""});
  }
  return t.as<char>() + p.offset * size_of(p.dtype);
}

std::vector<std::string> State::names() const {
  std::vector<std::string> result;
  for (const auto& [name, buffer] : buffers_) result.push_back(name);
  return result;
}

}  // namespace millrace
