// What the kernels of the optimizers share.
#pragma once

#include <algorithm>

#include "core/tensor.h"
#include "cpu/parallel.h"

namespace millrace::cpu {

inline float real_number(Bf16 x) { return to_float(x); }
template <class T> T real_number(T x) { return x; }

template <class T> void keep(const Tensor& from, const Tensor& to) {
  if (from.data != to.data) std::copy_n(from.as<T>(), from.count(), to.as<T>());
}

// The new parameters in the type of activations, where an optimizer has that output.
template <class T> void write_copy(const Tensor& params, const Tensor& copy) {
  const T* p = params.as<T>();
  if (copy.dtype == Dtype::bf16) {
    Bf16* y = copy.as<Bf16>();
    parallel_for(params.count(), [=](int64_t k) { y[k] = round_to_bf16(static_cast<float>(p[k])); });
  } else {
    T* y = copy.as<T>();
    parallel_for(params.count(), [=](int64_t k) { y[k] = p[k]; });
  }
}

}  // namespace millrace::cpu
