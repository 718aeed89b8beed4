// Attributes of the losses that sum a generalised Charbonnier penalty inside a border (charbonnier.h,
// smoothness.h).
#pragma once

#include <cstdint>

namespace millrace {

// rho(z) = ((beta z)^2 + epsilon^2)^alpha, over rows [border_y, H - border_y) and columns [border_x, W -
// border_x); one clip's sum is divided by `normalizer`.
struct CharbonnierAttrs {
  double alpha = .4;
  double beta = 1;
  double epsilon = .001;
  int64_t border_y = 0, border_x = 0;
  double normalizer = 1;

  template <class V> void visit(V v) const {
    v("alpha", alpha);
    v("beta", beta);
    v("epsilon", epsilon);
    v("border_y", border_y);
    v("border_x", border_x);
    v("normalizer", normalizer);
  }
};

}  // namespace millrace
