// Sums whose order, and so every bit of the result, is the same for any number of threads.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "cpu/parallel.h"

namespace millrace::cpu {

// Sum over rows of row_sum(row), a std::array<double, Sums>. Rows are cut into at most 64 runs, each summed
// in order, and then the runs in order. `work` is the number of elements in all.
template <size_t Sums, class F>
std::array<double, Sums> sum_rows(int64_t rows, int64_t work, const F& row_sum) {
  constexpr int64_t kRuns = 64;
  std::array<std::array<double, Sums>, kRuns> partial{};
  const int64_t runs = std::min(kRuns, rows);
  parallel_rows(runs, work, [&](int64_t run) {
    std::array<double, Sums> sum{};
    for (int64_t row = rows * run / runs; row < rows * (run + 1) / runs; ++row) {
      const std::array<double, Sums> one = row_sum(row);
      for (size_t s = 0; s < Sums; ++s) sum[s] += one[s];
    }
    partial[static_cast<size_t>(run)] = sum;
  });
  std::array<double, Sums> total{};
  for (const std::array<double, Sums>& sum : partial) {
    for (size_t s = 0; s < Sums; ++s) total[s] += sum[s];
  }
  return total;
}

// Sum of term(e) for e of [begin, end): short runs in T, which vectorise, and those in double.
template <class T, class F> double sum_terms(int64_t begin, int64_t end, const F& term) {
  constexpr int64_t kRun = 256;
  double total = 0;
  for (int64_t from = begin; from < end; from += kRun) {
    const int64_t to = std::min(from + kRun, end);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t e = from; e < to; ++e) sum += term(e);
    total += static_cast<double>(sum);
  }
  return total;
}

}  // namespace millrace::cpu
