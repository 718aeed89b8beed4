// Tensor: a view of memory that something else owns. Elements lie densely in the order of the shape, unless a
// plan gave the value another layout; kernels that can work in one know it from their Prepared.
#pragma once

#include "core/dtype.h"
#include "core/hd.h"
#include "core/shape.h"

namespace millrace {

struct Tensor {
  void* data = nullptr;
  Shape shape;
  Dtype dtype = Dtype::f32;

  template <class T> T* as() const { return static_cast<T*>(data); }
  int64_t count() const { return shape.count(); }
  int64_t bytes() const { return count() * size_of(dtype); }
};

// A (N,H,W,C) tensor under the indices of the equations: x(n, i, j, c), i down and j right.
template <class T> struct View4 {
  T* data;
  int64_t N, H, W, C;

  View4(const Tensor& t) : data(t.as<T>()), N(t.shape[0]), H(t.shape[1]), W(t.shape[2]), C(t.shape[3]) {}

  MILLRACE_HD T& operator()(int64_t n, int64_t i, int64_t j, int64_t c) const {
    return data[((n * H + i) * W + j) * C + c];
  }
  MILLRACE_HD bool inside(int64_t i, int64_t j) const { return i >= 0 && i < H && j >= 0 && j < W; }
};

}  // namespace millrace
