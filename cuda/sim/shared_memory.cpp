#include "cuda/sim/shared_memory.h"

#include <cstring>

// The section of all __shared__ variables; the linker makes these when there is one.
extern "C" {
extern unsigned char __start_sim_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_sim_shared[] __attribute__((weak, visibility("hidden")));
}

namespace millrace::sim {

namespace {

constexpr unsigned char kPoison = 0xFF;

uintptr_t begin_of_static() { return reinterpret_cast<uintptr_t>(__start_sim_shared); }
uintptr_t end_of_static() { return reinterpret_cast<uintptr_t>(__stop_sim_shared); }
size_t static_bytes() { return end_of_static() - begin_of_static(); }

}  // namespace

void DynamicShared::resize(size_t bytes) {
  memory_.reset(bytes == 0 ? nullptr : ::operator new(bytes, kAlignment));
  size_ = bytes;
}

void DynamicShared::poison() {
  if (size_ > 0) std::memset(memory_.get(), kPoison, size_);
}

// ASan forbids the guards between the variables of the section to all other code, and makes the section
// consist of whole words. The volatile access keeps g++ from making the loop a call of memset, which ASan
// checks too.
__attribute__((no_sanitize("address"))) void poison_static_shared() {
#ifdef __SANITIZE_ADDRESS__
  auto* words = reinterpret_cast<volatile uint64_t*>(__start_sim_shared);
  for (size_t i = 0; i < static_bytes() / sizeof(uint64_t); ++i) words[i] = ~uint64_t{0};
#else
  if (static_bytes() > 0) std::memset(__start_sim_shared, kPoison, static_bytes());
#endif
}

__attribute__((no_sanitize("address"))) int64_t written_static_shared() {
  constexpr int64_t kWord = 4;
  int64_t written = 0;
  const volatile unsigned char* word = __start_sim_shared;
  for (size_t left = static_bytes() / kWord; left > 0; --left, word += kWord)
    if ((word[0] & word[1] & word[2] & word[3]) != kPoison) written += kWord;
  return written;
}

bool in_static_shared(uintptr_t address) { return address >= begin_of_static() && address < end_of_static(); }

}  // namespace millrace::sim
