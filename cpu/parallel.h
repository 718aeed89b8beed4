// Loops over many independent elements, on the threads of OpenMP.
#pragma once

#include <cstdint>

namespace millrace::cpu {

// Below this many elements a second thread costs more than it gives.
constexpr int64_t kParallelFrom = 16384;

// Each thread has its own copy of the body. Bodies that capture by value are vectorised, for then no store
// can change what they captured; by reference they took 9 times as long.
template <class F> void parallel_for(int64_t count, F body) {
#pragma omp parallel for simd schedule(static) firstprivate(body) if (count >= kParallelFrom)
  for (int64_t k = 0; k < count; ++k) body(k);
}

// For bodies that are a row or a plane of work each; `work` elements in all decide whether threads are used.
template <class F> void parallel_rows(int64_t rows, int64_t work, F body) {
#pragma omp parallel for schedule(static) firstprivate(body) if (work >= kParallelFrom)
  for (int64_t k = 0; k < rows; ++k) body(k);
}

}  // namespace millrace::cpu
