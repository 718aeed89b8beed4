#include "core/bf16.h"

#include <cmath>
#include <limits>

#include "tests/catch.h"

using namespace millrace;

TEST_CASE("a bf16 number is the upper half of a float") {
  CHECK(to_float(Bf16{0x3f80}) == 1.0f);
  CHECK(to_float(Bf16{0xc000}) == -2.0f);
  CHECK(std::isinf(to_float(Bf16{0x7f80})));
  // Every number comes back as it was; a NaN as a NaN.
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const Bf16 x{static_cast<uint16_t>(bits)};
    if (std::isnan(to_float(x)))
      REQUIRE(std::isnan(to_float(round_to_bf16(to_float(x)))));
    else
      REQUIRE(round_to_bf16(to_float(x)) == x);
  }
}

TEST_CASE("rounding goes to the nearest bf16, in a tie to the even one") {
  CHECK(round_to_bf16(1.0f + 0x1p-8f) == Bf16{0x3f80});      // halfway between 1 and its successor: 1 is even
  CHECK(round_to_bf16(1.0f + 3 * 0x1p-8f) == Bf16{0x3f82});  // halfway again: the upper one is even
  CHECK(round_to_bf16(1.0f + 0x1p-8f + 0x1p-20f) == Bf16{0x3f81});  // a little above halfway
  CHECK(round_to_bf16(-1.0f - 0x1p-8f) == Bf16{0xbf80});
  CHECK(round_to_bf16(std::numeric_limits<float>::max()) == Bf16{0x7f80});
  CHECK(std::isnan(to_float(round_to_bf16(std::numeric_limits<float>::signaling_NaN()))));
  CHECK(round_to_bf16(0x1p-133f) == Bf16{0x0001});  // denormal numbers too
  CHECK(round_to_bf16(-0.0f) == Bf16{0x8000});
}
