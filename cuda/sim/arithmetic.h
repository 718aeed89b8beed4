// Arithmetic words for g++ (see device.h). Where a GPU approximates (__expf, __fdividef, ...) the simulation
// is exact to the last bit or two: kernels that use them need a tolerance that covers the GPU's error too.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace MILLRACE_CUDA_NS {

using std::max;
using std::min;

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __powf(float x, float y) { return std::pow(x, y); }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }

inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
// The upper half of the product.
inline unsigned __umulhi(unsigned x, unsigned y) {
  return static_cast<unsigned>((static_cast<uint64_t>(x) * y) >> 32);
}

// A read through the cache for data that no thread of the launch writes.
template <class T> T __ldg(const T* address) { return *address; }

}  // namespace MILLRACE_CUDA_NS
