// The random numbers of one sample, drawn one after another; a new object starts again at the first.
#pragma once

#include <cstdint>

#include "core/rng.h"

namespace millrace {

class Draws {
 public:
  Draws(RandomStream stream, int64_t sample) : stream_(stream), sample_(sample) {}

  double uniform(double low, double high) { return low + (high - low) * stream_.uniform01(next()); }
  // In [0,n).
  int64_t below(int64_t n) { return stream_.uniform_int(next(), n); }
  bool chance(double probability) { return stream_.uniform01(next()) < probability; }

 private:
  RandomAt next() { return {.step = sample_, .index = index_++}; }

  RandomStream stream_;
  int64_t sample_;
  int64_t index_ = 0;
};

}  // namespace millrace
