// How the elements of safetensors' dtypes become numbers of C++.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>
#include <type_traits>

namespace millrace::elements {

inline float half_to_float(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int mantissa = half & 1023;
  float value = 0;
  if (exponent == 31) {
    value = mantissa == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
  } else {
    value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                          : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  }
  return (half & 0x8000) != 0 ? -value : value;
}

inline float bfloat_to_float(uint16_t value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

template <class From> From load(const std::byte* from) {
  From value;
  std::memcpy(&value, from, sizeof(From));
  return value;
}

template <class T> using Convert = T (*)(const std::byte*);

template <class From, class T> T convert(const std::byte* from) { return static_cast<T>(load<From>(from)); }

// How an element of `dtype` becomes a T; null where that would lose its meaning.
template <class T> Convert<T> conversion(std::string_view dtype) {
  if constexpr (std::is_floating_point_v<T>) {
    if (dtype == "F32") return convert<float, T>;
    if (dtype == "F64") return convert<double, T>;
    if (dtype == "F16")
      return [](const std::byte* b) { return static_cast<T>(half_to_float(load<uint16_t>(b))); };
    if (dtype == "BF16")
      return [](const std::byte* b) { return static_cast<T>(bfloat_to_float(load<uint16_t>(b))); };
  } else {
    if (dtype == "U8" || dtype == "BOOL") return convert<uint8_t, T>;
    if constexpr (sizeof(T) == 8) {
      if (dtype == "I64") return convert<int64_t, T>;
      if (dtype == "I32") return convert<int32_t, T>;
      if (dtype == "U32") return convert<uint32_t, T>;
      if (dtype == "I16") return convert<int16_t, T>;
      if (dtype == "U16") return convert<uint16_t, T>;
      if (dtype == "I8") return convert<int8_t, T>;
    }
  }
  return nullptr;
}

template <class T> constexpr const char* kAccepts = std::is_floating_point_v<T>
                                                        ? "dtype F32, F64, F16 or BF16"
                                                    : sizeof(T) == 8 ? "an integer dtype up to I64"
                                                                     : "dtype U8 or BOOL";

}  // namespace millrace::elements
