// base^exponent for many floats at a time.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace millrace::cpu {

// For normal base > 0. Double is the library's pow; float is 2^(exponent log2 base) in plain arithmetic that
// compilers vectorise, which they may not do with powf. Its relative error is below
// 1e-7 (3 + |log2 of the result|). NaN and infinite bases come back as they are, so that divergence is seen.
template <class T> inline T power(T base, T exponent) { return std::pow(base, exponent); }

template <> inline float power(float base, float exponent) {
  constexpr uint32_t kSqrtHalf = 0x3f3504f3;  // bits of sqrt(1/2)
  const auto bits = std::bit_cast<uint32_t>(base);
  const int32_t e = static_cast<int32_t>(bits - kSqrtHalf) >> 23;
  // base = 2^e m, m in [sqrt(1/2), sqrt(2))
  const float m = std::bit_cast<float>(bits - (static_cast<uint32_t>(e) << 23));
  // log m = 2 artanh((m - 1) / (m + 1))
  const float t = (m - 1) / (m + 1), t2 = t * t;
  const float log_m = t * (2 + t2 * (2.f / 3 + t2 * (2.f / 5 + t2 * (2.f / 7 + t2 * (2.f / 9)))));
  const float log2_base = static_cast<float>(e) + 1.44269504f * log_m;

  const float y = std::min(std::max(exponent * log2_base, -126.f), 127.f);
  constexpr float kRound = 12582912.f;  // 1.5 2^23: adding it leaves no fraction
  const float n = (y + kRound) - kRound;
  const float f = (y - n) * 0.693147181f;  // e^f by its series, |f| <= log(2) / 2
  const float exp_f =
      1 + f * (1 + f * (1.f / 2 + f * (1.f / 6 + f * (1.f / 24 + f * (1.f / 120 + f * (1.f / 720))))));
  const float result = exp_f * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
  return base < INFINITY ? result : base;
}

}  // namespace millrace::cpu
