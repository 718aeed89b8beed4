// Rotation, zoom and shift of the plane in one: how layers of synthetic clips move.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>

namespace millrace {

// x' = a x - b y + tx, y' = b x + a y + ty.
struct Similarity {
  double a = 1, b = 0, tx = 0, ty = 0;

  std::array<double, 2> operator()(double x, double y) const {
    return {a * x - b * y + tx, b * x + a * y + ty};
  }
  // First `inner`, then this.
  Similarity after(const Similarity& inner) const {
    const auto [x, y] = (*this)(inner.tx, inner.ty);
    return {a * inner.a - b * inner.b, b * inner.a + a * inner.b, x, y};
  }
  Similarity inverse() const {
    const double square = a * a + b * b;
    const double ia = a / square, ib = -b / square;
    return {ia, ib, -(ia * tx - ib * ty), -(ib * tx + ia * ty)};
  }
  Similarity power(int64_t n) const {
    Similarity result;
    const Similarity base = n < 0 ? inverse() : *this;
    for (int64_t k = 0; k < std::abs(n); ++k) result = base.after(result);
    return result;
  }
};

}  // namespace millrace
