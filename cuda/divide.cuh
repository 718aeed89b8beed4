// Division by a number that is the same for all threads. A GPU has no instruction for it: nvcc makes some 20
// of n / d, among them a reciprocal, where a product and a shift by numbers that the host computes do.
#pragma once

#include <bit>

#include "cuda/launch.cuh"

namespace MILLRACE_CUDA_NS {

// n / d for 0 <= n < 2^31 and d of 1 to 2^31 - 1, exactly: (n + floor(n m / 2^32)) / 2^p with 2^p the
// smallest power of two that is not below d, and m = floor(2^32 (2^p - d) / d) + 1. Source: Granlund and
// Montgomery, Division by Invariant Integers using Multiplication (PLDI 1994), Figure 4.1. The sum stays
// below 2^32, because m n / 2^32 is below n.
class Divisor {
 public:
  explicit Divisor(int d)
      : divisor_(static_cast<unsigned>(d)),
        shift_(std::bit_width(divisor_ - 1)),
        multiplier_(static_cast<unsigned>(
            ((uint64_t{1} << 32) * ((uint64_t{1} << shift_) - divisor_)) / divisor_ + 1)) {}

  __device__ __forceinline__ int quotient(int n) const {
    const auto u = static_cast<unsigned>(n);
    return static_cast<int>((u + __umulhi(u, multiplier_)) >> shift_);
  }
  __device__ __forceinline__ int remainder(int n, int quotient) const {
    return n - quotient * static_cast<int>(divisor_);
  }

 private:
  unsigned divisor_;
  int shift_;
  unsigned multiplier_;
};

}  // namespace MILLRACE_CUDA_NS
