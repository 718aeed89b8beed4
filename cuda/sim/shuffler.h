// Random orders of blocks and threads.
#pragma once

#include <cstdint>

namespace millrace::sim {

// SplitMix64 (Steele, Lea, Flood 2014): enough to shuffle with, and the same on every machine. Seed 0 keeps
// the natural order: its numbers are all 0.
class Shuffler {
 public:
  explicit Shuffler(uint64_t seed) : natural_(seed == 0), state_(seed) {}

  uint64_t below(uint64_t limit) {
    if (natural_) return 0;
    state_ += 0x9E3779B97F4A7C15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return static_cast<uint64_t>(static_cast<unsigned __int128>(z) * limit >> 64);  // faster than z % limit
  }

 private:
  bool natural_;
  uint64_t state_;
};

}  // namespace millrace::sim
