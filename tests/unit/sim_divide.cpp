#include <limits>

#include "cuda/divide.cuh"
#include "tests/unit/sim_support.h"

using namespace millrace;
using namespace millrace::cuda_sim;

namespace {

__global__ void divide(Divisor by, const int* n, int* quotient, int* remainder, int count) {
  const auto k = static_cast<int>(global_thread());
  if (k >= count) return;
  quotient[k] = by.quotient(n[k]);
  remainder[k] = by.remainder(n[k], quotient[k]);
}

// The numbers round multiples of d, where a quotient that is one off shows, and the ends of the range.
std::vector<int> numerators(int d) {
  constexpr int64_t kEnd = int64_t{1} << 31;
  std::vector<int> n{0, 1, std::numeric_limits<int>::max()};
  for (const int64_t q :
       {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{1000}, (kEnd - 1) / d - 1, (kEnd - 1) / d}) {
    for (int64_t off = -2; off <= 2; ++off) {
      const int64_t at = q * d + off;
      if (at >= 0 && at < kEnd) n.push_back(static_cast<int>(at));
    }
  }
  return n;
}

}  // namespace

TEST_CASE("a divisor divides as / and % do, up to 2^31 - 1") {
  std::vector<int> divisors{std::numeric_limits<int>::max(), std::numeric_limits<int>::max() - 1};
  for (int d = 1; d <= 300; ++d) divisors.push_back(d);
  for (int p = 9; p < 31; ++p) {
    for (int off = -1; off <= 1; ++off) divisors.push_back((1 << p) + off);
  }
  for (const int d : divisors) {
    const std::vector<int> n = numerators(d);
    std::vector<int> quotient(n.size(), -1), remainder(n.size(), -1);
    launch(divide, {.grid = 1, .block = 64}, nullptr, Divisor(d), n.data(), quotient.data(), remainder.data(),
           static_cast<int>(n.size()));
    for (size_t k = 0; k < n.size(); ++k) {
      INFO(n[k] << " / " << d);
      REQUIRE(quotient[k] == n[k] / d);
      REQUIRE(remainder[k] == n[k] % d);
    }
  }
}
