// How far flow is from the truth, in the measures that benchmarks print.
#pragma once

#include <array>
#include <cstdint>

#include "data/flow.h"

namespace millrace {

// Sums over pixels whose truth is known, so that those of several pairs can be added. e is the end-point
// error sqrt((u - u')^2 + (v - v')^2) in pixels.
struct FlowError {
  static constexpr std::array<double, 3> kBounds = {1, 3, 5};  // pixels

  int64_t pixels = 0;                // compared
  int64_t unknown = 0;               // left out, because the truth does not know them
  double sum = 0;                    // of e
  double zero_sum = 0;               // of e of zero flow, which is the truth's length
  std::array<int64_t, 3> over = {};  // pixels with e > 1, 3, 5
  int64_t outliers = 0;              // e > 3 and e > 5 % of the truth's length: KITTI's Fl-all

  FlowError& operator+=(const FlowError& other);
  // Means and shares in percent; 0 where nothing was compared.
  double mean() const { return share(sum); }
  double zero_mean() const { return share(zero_sum); }
  double percent(int64_t count) const { return 100 * share(static_cast<double>(count)); }

 private:
  double share(double part) const { return pixels > 0 ? part / static_cast<double>(pixels) : 0; }
};

// Over the pixels at least `border` from every edge. A value of `flow` that is not finite counts as over
// every bound. Errors (data): different sizes.
FlowError flow_error(const Flow& flow, const Flow& truth, int64_t border = 0);

}  // namespace millrace
