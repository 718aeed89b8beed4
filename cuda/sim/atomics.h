// Atomics for g++ (see device.h): plain reads and writes, because one thread runs at a time.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/sim/runtime.h"

namespace MILLRACE_CUDA_NS {

namespace detail {

// *address = next(*address); gives what was there.
template <class T, class Next>
__attribute__((no_sanitize("thread"))) T exchange_by(T* address, const Next& next) {
#ifdef __SANITIZE_THREAD__
  sim::note_atomic(address, sizeof(T), __builtin_return_address(0));
#endif
  const T before = *address;
  *address = next(before);
  return before;
}

template <class T, class... Any> constexpr bool kOneOf = (std::is_same_v<T, Any> || ...);
template <class T> constexpr bool kAtomicInteger = kOneOf<T, int, unsigned, long long, unsigned long long>;

template <class T> using Same = std::type_identity_t<T>;  // leaves the type to the address

}  // namespace detail

template <class T> inline __attribute__((always_inline)) T atomicAdd(T* address, detail::Same<T> value) {
  static_assert(detail::kOneOf<T, int, unsigned, unsigned long long, float, double>,
                "CUDA adds to int, unsigned, unsigned long long, float and double");
  return detail::exchange_by(address, [&](T x) {
    if constexpr (std::is_same_v<T, int>)  // wraps round
      return static_cast<int>(static_cast<unsigned>(x) + static_cast<unsigned>(value));
    else
      return x + value;
  });
}
template <class T> inline __attribute__((always_inline)) T atomicMax(T* address, detail::Same<T> value) {
  static_assert(detail::kAtomicInteger<T>, "CUDA has the largest of integers only");
  return detail::exchange_by(address, [&](T x) { return x < value ? value : x; });
}
template <class T> inline __attribute__((always_inline)) T atomicMin(T* address, detail::Same<T> value) {
  static_assert(detail::kAtomicInteger<T>, "CUDA has the smallest of integers only");
  return detail::exchange_by(address, [&](T x) { return value < x ? value : x; });
}
template <class T> inline __attribute__((always_inline)) T atomicOr(T* address, detail::Same<T> value) {
  static_assert(detail::kAtomicInteger<T>);
  return detail::exchange_by(address, [&](T x) { return x | value; });
}
template <class T> inline __attribute__((always_inline)) T atomicAnd(T* address, detail::Same<T> value) {
  static_assert(detail::kAtomicInteger<T>);
  return detail::exchange_by(address, [&](T x) { return x & value; });
}
template <class T> inline __attribute__((always_inline)) T atomicExch(T* address, detail::Same<T> value) {
  static_assert(detail::kAtomicInteger<T> || std::is_same_v<T, float>);
  return detail::exchange_by(address, [&](T) { return value; });
}
template <class T> inline __attribute__((always_inline)) T atomicCAS(T* address, detail::Same<T> expected,
                                                                     detail::Same<T> value) {
  static_assert(detail::kAtomicInteger<T>);
  return detail::exchange_by(address, [&](T x) { return x == expected ? value : x; });
}

// Memory is in order on the CPU.
inline void __threadfence() {}
inline void __threadfence_block() {}

}  // namespace MILLRACE_CUDA_NS
