// Random numbers without state: a number is a pure function of (seed, stream name, step, logical element
// index), so threads, fusion, layouts, recompute and a resumed run cannot change it.
//
// Generator: Philox4x32-10. Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2,
// 3", SC 2011, section 3.3 (bijection of a 128-bit counter, chosen by a 64-bit key).
//
// What goes where:
//   key      mix64(mix64(seed) + hash_name(name)), low word first. For one seed this is one to one in
//            the 64-bit hash of the name, and for one name
//            one to one in the seed: two streams of a run share numbers only
//            where their names' hashes are equal (for 100 names, by chance 1 in 4e15), and two seeds never
//            share a stream.
//   counter  words 0, 1 = element index, words 2, 3 = step, low word first; 64 bits each, nothing is cut off.
// An element takes a whole block of four words. Every draw of one (step, index) reads the same block: a
// consumer that needs two numbers for an element uses two streams or two indices.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "core/hd.h"

namespace millrace {

struct PhiloxBlock {
  uint32_t word[4];
};

struct PhiloxKey {
  uint32_t word[2];
};

MILLRACE_HD constexpr PhiloxBlock philox4x32_10(PhiloxBlock c, PhiloxKey k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c.word[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c.word[2];
    c = {{static_cast<uint32_t>(p1 >> 32) ^ c.word[1] ^ k.word[0], static_cast<uint32_t>(p1),
          static_cast<uint32_t>(p0 >> 32) ^ c.word[3] ^ k.word[1], static_cast<uint32_t>(p0)}};
    k = {{k.word[0] + 0x9E3779B9u, k.word[1] + 0xBB67AE85u}};
  }
  return c;
}

// Finalizer of SplitMix64 (Steele, Lea, Flood 2014); one to one on 64 bits.
MILLRACE_HD constexpr uint64_t mix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// FNV-1a, 64 bits.
constexpr uint64_t hash_name(std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  return hash;
}

// High 64 bits of a * b.
MILLRACE_HD constexpr uint64_t multiply_high(uint64_t a, uint64_t b) {
  const uint64_t a0 = a & 0xFFFFFFFFu, a1 = a >> 32, b0 = b & 0xFFFFFFFFu, b1 = b >> 32;
  const uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
  const uint64_t other = a0 * b1 + (middle & 0xFFFFFFFFu);
  return a1 * b1 + (middle >> 32) + (other >> 32);
}

// Which element of a stream, and when.
struct RandomAt {
  int64_t step = 0;
  int64_t index = 0;  // logical element index, never a padded address
};

// Trivially copyable: a kernel takes it by value.
struct RandomStream {
  uint64_t seed = 0;
  uint64_t stream = 0;  // hash_name(stream name)

  MILLRACE_HD constexpr PhiloxKey key() const {
    const uint64_t k = mix64(mix64(seed) + stream);
    return {{static_cast<uint32_t>(k), static_cast<uint32_t>(k >> 32)}};
  }

  MILLRACE_HD constexpr PhiloxBlock block(RandomAt at) const {
    const auto index = static_cast<uint64_t>(at.index);
    const auto step = static_cast<uint64_t>(at.step);
    return philox4x32_10({{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                           static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32)}},
                         key());
  }

  // 64 random bits; word 0 is the high half, so that uniform01f is uniform01 cut to 24 bits.
  MILLRACE_HD constexpr uint64_t bits64(RandomAt at) const {
    const PhiloxBlock b = block(at);
    return uint64_t{b.word[0]} << 32 | b.word[1];
  }

  // In [0,1): a multiple of 2^-53.
  MILLRACE_HD constexpr double uniform01(RandomAt at) const {
    return static_cast<double>(bits64(at) >> 11) * 0x1p-53;
  }

  // In [0,1): a multiple of 2^-24. Equal on every device to the last bit.
  MILLRACE_HD constexpr float uniform01f(RandomAt at) const {
    return static_cast<float>(block(at).word[0] >> 8) * 0x1p-24F;
  }

  // In [0,n), for n >= 1: the high part of bits64 * n. The chance of a value is off by less than 2^-64.
  MILLRACE_HD constexpr int64_t uniform_int(RandomAt at, int64_t n) const {
    return static_cast<int64_t>(multiply_high(bits64(at), static_cast<uint64_t>(n)));
  }

  // Mean 0, variance 1, by Box and Muller (1958): sqrt(-2 ln u1) cos(2 pi u2) with u1 in (0,1] from words 0,
  // 1 and u2 in [0,1) from words 2, 3, so |value| <= 8.58. The only draw that calls the maths library: the
  // last bit of the double may differ between devices and libraries.
  MILLRACE_HD double normal(RandomAt at) const {
    const PhiloxBlock b = block(at);
    const uint64_t first = uint64_t{b.word[0]} << 32 | b.word[1];
    const uint64_t second = uint64_t{b.word[2]} << 32 | b.word[3];
    const double u1 = static_cast<double>((first >> 11) + 1) * 0x1p-53;
    const double u2 = static_cast<double>(second >> 11) * 0x1p-53;
    return std::sqrt(-2.0 * std::log(u1)) * std::cos(6.283185307179586 * u2);
  }
};

constexpr RandomStream random_stream(uint64_t seed, std::string_view name) {
  return {.seed = seed, .stream = hash_name(name)};
}

}  // namespace millrace
