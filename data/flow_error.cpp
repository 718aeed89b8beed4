#include "data/flow_error.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"

namespace millrace {

FlowError& FlowError::operator+=(const FlowError& other) {
  pixels += other.pixels;
  unknown += other.unknown;
  sum += other.sum;
  zero_sum += other.zero_sum;
  for (size_t k = 0; k < over.size(); ++k) over[k] += other.over[k];
  outliers += other.outliers;
  return *this;
}

FlowError flow_error(const Flow& flow, const Flow& truth, int64_t border) {
  if (flow.size() != truth.size()) {
    fail(ErrorKind::data,
         {.where = "flow_error",
          .expected = fmt::format("flow of the truth's {}x{} pixels", truth.width, truth.height),
          .got = fmt::format("{}x{}", flow.width, flow.height)});
  }
  FlowError error;
  for (int64_t i = border; i < truth.height - border; ++i) {
    for (int64_t j = border; j < truth.width - border; ++j) {
      const float *guess = flow.at(i, j), *right = truth.at(i, j);
      if (!is_known(right)) {
        ++error.unknown;
        continue;
      }
      const double e = std::hypot(double{guess[0]} - double{right[0]}, double{guess[1]} - double{right[1]});
      const double length = std::hypot(double{right[0]}, double{right[1]});
      ++error.pixels;
      error.sum += e;
      error.zero_sum += length;
      for (size_t k = 0; k < error.over.size(); ++k) error.over[k] += !(e <= FlowError::kBounds[k]);
      error.outliers += !(e <= 3) && !(e <= .05 * length);
    }
  }
  return error;
}

}  // namespace millrace
