// Element types of tensors and files.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "core/bf16.h"

namespace millrace {

enum class Dtype : uint8_t { f32, f64, bf16, u8, i32, i64 };

constexpr int64_t size_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return 4;
    case Dtype::f64:
      return 8;
    case Dtype::bf16:
      return 2;
    case Dtype::u8:
      return 1;
    case Dtype::i32:
      return 4;
    case Dtype::i64:
      return 8;
  }
  return 0;
}

constexpr std::string_view name_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return "f32";
    case Dtype::f64:
      return "f64";
    case Dtype::bf16:
      return "bf16";
    case Dtype::u8:
      return "u8";
    case Dtype::i32:
      return "i32";
    case Dtype::i64:
      return "i64";
  }
  return "?";
}

constexpr bool is_real(Dtype dtype) {
  return dtype == Dtype::f32 || dtype == Dtype::f64 || dtype == Dtype::bf16;
}

// The type of what keeps full precision where activations are bf16: parameters, flow, losses, reductions.
constexpr Dtype precise(Dtype real) { return real == Dtype::bf16 ? Dtype::f32 : real; }

// The type that a kernel computes in: a graph is built once for float or once for double.
template <class T> constexpr Dtype dtype_of() {
  if constexpr (std::is_same_v<T, float>)
    return Dtype::f32;
  else if constexpr (std::is_same_v<T, double>)
    return Dtype::f64;
  else if constexpr (std::is_same_v<T, Bf16>)
    return Dtype::bf16;
  else if constexpr (std::is_same_v<T, uint8_t>)
    return Dtype::u8;
  else if constexpr (std::is_same_v<T, int32_t>)
    return Dtype::i32;
  else {
    static_assert(std::is_same_v<T, int64_t>);
    return Dtype::i64;
  }
}

}  // namespace millrace
