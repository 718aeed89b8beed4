// bf16: the upper half of a float. Eight bits of exponent, as a float has, and eight of precision, one of
// them implied: a number is off by at most 2^-9 of itself after rounding.
#pragma once

#include <cstdint>

#include "core/hd.h"

namespace millrace {

struct Bf16 {
  uint16_t bits = 0;
  bool operator==(const Bf16&) const = default;
};
static_assert(sizeof(Bf16) == 2);

MILLRACE_HD constexpr float to_float(Bf16 x) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16);
}

// Rounds to nearest, ties to even; what is too large becomes infinite, and a NaN stays one.
MILLRACE_HD constexpr Bf16 round_to_bf16(float x) {
  const auto bits = __builtin_bit_cast(uint32_t, x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace millrace
