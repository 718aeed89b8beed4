#include "core/rng.h"

#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "tests/catch.h"

using namespace millrace;

namespace {

bool equal(PhiloxBlock a, PhiloxBlock b) {
  for (int i = 0; i < 4; ++i) {
    if (a.word[i] != b.word[i]) return false;
  }
  return true;
}

}  // namespace

// kat_vectors of the authors' Random123 library, lines "philox4x32 10".
TEST_CASE("philox gives the published known answers") {
  CHECK(equal(philox4x32_10({{0, 0, 0, 0}}, {{0, 0}}), {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}));
  CHECK(equal(philox4x32_10({{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}}, {{0xffffffff, 0xffffffff}}),
              {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}));
  CHECK(equal(philox4x32_10({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, {{0xa4093822, 0x299f31d0}}),
              {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}));
}

TEST_CASE("hash and mixer give the published known answers") {
  CHECK(hash_name("") == 0xcbf29ce484222325u);
  CHECK(hash_name("a") == 0xaf63dc4c8601ec8cu);
  CHECK(hash_name("foobar") == 0x85944171f73967e8u);
  CHECK(mix64(0) == 0xe220a8397b1dcdafu);  // first output of SplitMix64 seeded with 0
}

TEST_CASE("draws are compile-time constants of seed, name, step and index") {
  constexpr RandomStream stream = random_stream(7, "dropout/fc6");
  static_assert(stream.uniform01f({.step = 3, .index = 5}) == stream.uniform01f({.step = 3, .index = 5}));
  static_assert(stream.uniform_int({.step = 3, .index = 5}, 1) == 0);
  const double full = stream.uniform01({.step = 3, .index = 5});
  CHECK(static_cast<double>(stream.uniform01f({.step = 3, .index = 5})) ==
        std::floor(full * 0x1p24) * 0x1p-24);
}

TEST_CASE("every bit of seed, name, step and index changes the draw") {
  std::set<uint64_t> seen;
  size_t count = 0;
  const auto add = [&](const RandomStream& s, RandomAt at) {
    seen.insert(s.bits64(at));
    ++count;
  };
  add(random_stream(0, "a"), {});
  for (int bit = 0; bit < 63; ++bit) {
    add(random_stream(0, "a"), {.step = int64_t{1} << bit});
    add(random_stream(0, "a"), {.index = int64_t{1} << bit});
    add(random_stream(uint64_t{1} << bit, "a"), {});
    add(RandomStream{.seed = 0, .stream = hash_name("a") ^ (uint64_t{1} << bit)}, {});
  }
  // Seed and name must not cancel: a sum or xor of the two alone would merge these.
  add(random_stream(hash_name("a"), ""), {});
  add(random_stream(hash_name(""), "a"), {});
  add(random_stream(0, "ab"), {});
  add(random_stream(0, "ba"), {});
  CHECK(seen.size() == count);
}

TEST_CASE("uniform numbers fill 0 to 1 evenly and neighbours are independent") {
  const RandomStream stream = random_stream(1, "test");
  const int64_t n = 200000;
  std::vector<int64_t> bins(16, 0);
  std::vector<int64_t> pairs(16, 0);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float x = stream.uniform01f({.step = 9, .index = i});
    const float y = stream.uniform01f({.step = 10, .index = i});
    REQUIRE((x >= 0 && x < 1));
    sum += static_cast<double>(x);
    ++bins[static_cast<size_t>(x * 16)];
    ++pairs[static_cast<size_t>(x * 4) * 4 + static_cast<size_t>(y * 4)];
  }
  CHECK(std::abs(sum / static_cast<double>(n) - 0.5) < 0.003);  // 4.6 sigma
  for (const auto& counts : {bins, pairs}) {
    double chi2 = 0;
    for (const int64_t c : counts) {
      const double expected = static_cast<double>(n) / 16;
      chi2 += (static_cast<double>(c) - expected) * (static_cast<double>(c) - expected) / expected;
    }
    CHECK(chi2 < 44);  // 15 degrees of freedom: p = 1e-4
    CHECK(chi2 > 1.5);
  }
}

TEST_CASE("the largest words stay below 1") {
  CHECK(static_cast<float>(0xffffffffu >> 8) * 0x1p-24F < 1.0F);
  CHECK(static_cast<double>(~uint64_t{0} >> 11) * 0x1p-53 < 1.0);
}

TEST_CASE("high product of 64-bit numbers") {
  CHECK(multiply_high(~uint64_t{0}, ~uint64_t{0}) == ~uint64_t{0} - 1);
  CHECK(multiply_high(uint64_t{1} << 63, 2) == 1);
  CHECK(multiply_high(0xffffffffu, 0xffffffffu) == 0);
  CHECK(multiply_high(0x123456789abcdef0u, 0xfedcba9876543210u) == 0x121fa00ad77d7422u);
}

TEST_CASE("uniform integers reach every value, evenly") {
  const RandomStream stream = random_stream(2, "test");
  std::vector<int64_t> counts(7, 0);
  for (int64_t i = 0; i < 70000; ++i) {
    const int64_t value = stream.uniform_int({.index = i}, 7);
    REQUIRE((value >= 0 && value < 7));
    ++counts[static_cast<size_t>(value)];
  }
  for (const int64_t c : counts) CHECK(std::abs(c - 10000) < 450);  // 4.9 sigma
  const int64_t large = stream.uniform_int({}, INT64_MAX);
  CHECK(large > int64_t{1} << 40);
}

TEST_CASE("normal numbers have mean 0, variance 1, no skew and kurtosis 3") {
  const RandomStream stream = random_stream(3, "test");
  const int n = 200000;
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
  for (int i = 0; i < n; ++i) {
    const double x = stream.normal({.step = 1, .index = i});
    REQUIRE(std::isfinite(x));
    m1 += x / n;
    m2 += x * x / n;
    m3 += x * x * x / n;
    m4 += x * x * x * x / n;
  }
  CHECK(std::abs(m1) < 0.011);  // 5 sigma each
  CHECK(std::abs(m2 - 1) < 0.016);
  CHECK(std::abs(m3) < 0.044);
  CHECK(std::abs(m4 - 3) < 0.11);
}
