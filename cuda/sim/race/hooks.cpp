// What g++ -fsanitize=thread calls at each access to memory. No library of the sanitizer is linked: the calls
// go to our detector.
#include <cstddef>

#include "cuda/sim/race/detector.h"

namespace {

using millrace::sim::AccessKind;

millrace::sim::Detector& detector() {
  static millrace::sim::Detector instance;
  return instance;
}

// Before any launch.
[[maybe_unused]] const bool watches = (millrace::sim::watcher = &detector(), true);

}  // namespace

namespace millrace::sim {

void note_atomic(const void* address, size_t bytes, const void* code) {
  detector().access(address, bytes, AccessKind::atomic, code);
}

}  // namespace millrace::sim

#define MILLRACE_HOOK(name, kind, bytes)                                              \
  void name(void* address) {                                                          \
    detector().access(address, bytes, AccessKind::kind, __builtin_return_address(0)); \
  }
#define MILLRACE_HOOKS(bytes)                    \
  MILLRACE_HOOK(__tsan_read##bytes, read, bytes) \
  MILLRACE_HOOK(__tsan_write##bytes, write, bytes)

#define MILLRACE_ATOMICS(bits, T)                                                                         \
  T __tsan_atomic##bits##_load(const volatile T* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); } \
  void __tsan_atomic##bits##_store(volatile T* p, T x, int) { __atomic_store_n(p, x, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_exchange(volatile T* p, T x, int) {                                             \
    return __atomic_exchange_n(p, x, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                       \
  T __tsan_atomic##bits##_fetch_add(volatile T* p, T x, int) {                                            \
    return __atomic_fetch_add(p, x, __ATOMIC_SEQ_CST);                                                    \
  }                                                                                                       \
  T __tsan_atomic##bits##_fetch_sub(volatile T* p, T x, int) {                                            \
    return __atomic_fetch_sub(p, x, __ATOMIC_SEQ_CST);                                                    \
  }                                                                                                       \
  bool __tsan_atomic##bits##_compare_exchange_strong(volatile T* p, T* expected, T x, int, int) {         \
    return __atomic_compare_exchange_n(p, expected, x, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
  }

extern "C" {

MILLRACE_HOOKS(1)
MILLRACE_HOOKS(2)
MILLRACE_HOOKS(4)
MILLRACE_HOOKS(8)
MILLRACE_HOOKS(16)

void __tsan_read_range(void* address, size_t bytes) {
  detector().access(address, bytes, AccessKind::read, __builtin_return_address(0));
}
void __tsan_write_range(void* address, size_t bytes) {
  detector().access(address, bytes, AccessKind::write, __builtin_return_address(0));
}

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}

// The host's atomics, such as the counts of shared pointers: kernels have none of these.
MILLRACE_ATOMICS(8, signed char)
MILLRACE_ATOMICS(32, int)
MILLRACE_ATOMICS(64, long long)

}  // extern "C"
