// The shared memory of the block that runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace millrace::sim {

// Dynamic shared memory: exactly as many bytes as the launch asks for, so that ASan sees the first byte
// behind them, and aligned as on a GPU.
class DynamicShared {
 public:
  void resize(size_t bytes);
  void poison();
  void* data() const { return memory_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(void* p) const { ::operator delete(p, kAlignment); }
  };
  static constexpr std::align_val_t kAlignment{128};
  std::unique_ptr<void, Free> memory_;
  size_t size_ = 0;
};

// Static shared memory: all __shared__ variables of the program, which lie in one section.
void poison_static_shared();
int64_t written_static_shared();  // bytes written since, in words
bool in_static_shared(uintptr_t address);

}  // namespace millrace::sim
