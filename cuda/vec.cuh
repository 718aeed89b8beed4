// Vector access to memory: several neighbours in one instruction, at an address that is a multiple of their
// size.
#pragma once

#include "cuda/launch.cuh"

namespace MILLRACE_CUDA_NS {

// N values side by side, moved as one: N sizeof(T) is 2, 4, 8 or 16 bytes.
template <class T, int N> struct alignas(sizeof(T) * N) Vec {
  static_assert(N > 0 && (N & (N - 1)) == 0 && sizeof(T) * N <= 16,
                "a GPU moves 2, 4, 8 or 16 bytes at once");
  T lane[N];

  __host__ __device__ T& operator[](int i) { return lane[i]; }
  __host__ __device__ const T& operator[](int i) const { return lane[i]; }
};

using Float2 = Vec<float, 2>;
using Float4 = Vec<float, 4>;

// p[0..N), p aligned to the whole vector.
template <int N, class T> __device__ __forceinline__ Vec<T, N> load_vec(const T* p) {
#ifdef MILLRACE_CUDA_SIM
  sim::check_vector(p, sizeof(Vec<T, N>));
  Vec<T, N> v;
  for (int i = 0; i < N; ++i) v[i] = p[i];
  return v;
#else
  return *reinterpret_cast<const Vec<T, N>*>(p);
#endif
}

// p[0..N) = v, p aligned to the whole vector.
template <class T, int N> __device__ __forceinline__ void store_vec(T* p, const Vec<T, N>& v) {
#ifdef MILLRACE_CUDA_SIM
  sim::check_vector(p, sizeof(Vec<T, N>));
  for (int i = 0; i < N; ++i) p[i] = v[i];
#else
  *reinterpret_cast<Vec<T, N>*>(p) = v;
#endif
}

}  // namespace MILLRACE_CUDA_NS
