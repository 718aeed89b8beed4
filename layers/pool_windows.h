// The windows of pooling (max_pool.h, average_pool.h): which inputs each output is made of.
//
// Along an axis of `extent` inputs, window o holds the inputs [o stride - pad, o stride - pad + kernel) that
// exist. There are floor or ceil((extent + 2 pad - kernel) / stride) + 1 of them; with `ceil` a last one that
// would begin behind the last input is left out. Source: Caffe's pooling_layer.cpp, which rounds up; PyTorch
// rounds down by default. (Caffe leaves that last window out only where there is padding; without, a stride
// larger than the kernel gives it an empty window.)
#pragma once

#include <algorithm>

#include "core/hd.h"
#include "core/op.h"

namespace millrace {

struct PoolAttrs {
  int64_t kernel = 2, stride = 2, pad = 0;  // of both axes
  bool ceil = true;
  bool global = false;  // one window, the whole image, whatever the other attributes say

  template <class V> void visit(V v) const {
    v("kernel", kernel);
    v("stride", stride);
    v("pad", pad);
    v("ceil", ceil);
    v("global", global);
  }
};

// In 32 bits: kernels divide by strides, which is slow in 64.
struct PoolAxis {
  int extent = 0, kernel = 0, stride = 1, pad = 0;
  int windows = 0;

  struct Range {
    int begin, end;
  };
  // The inputs of window o. Beyond the last window: those of the windows that would follow.
  MILLRACE_HD Range window(int o) const {
    const int begin = o * stride - pad, end = begin + kernel;
    return {begin > 0 ? begin : 0, end < extent ? end : extent};
  }
  // Inputs and padding in window o: what Caffe's average counts.
  MILLRACE_HD int length(int o) const {
    const int begin = o * stride - pad, end = begin + kernel;
    return (end < extent + pad ? end : extent + pad) - begin;
  }
  // The windows that hold input p.
  MILLRACE_HD Range holders(int p) const {
    const int before = p + pad - kernel, last = (p + pad) / stride;
    return {before < 0 ? 0 : before / stride + 1, last < windows ? last + 1 : windows};
  }
};

struct PoolWindows {
  PoolAxis rows, columns;
};

PoolWindows pool_windows(const PoolAttrs& attrs, int64_t H, int64_t W);

namespace detail {
// The shape of the output (N,OH,OW,C). Throws unless x is (N,H,W,C) of `real` and the attributes make sense
// for it.
Shape pool_shape(const char* op, const Spec& x, const PoolAttrs& attrs, Dtype real);

struct PoolCase {
  const char* name;
  PoolAttrs attrs;
  Shape x;
  bool benchmark = false;
};
// Every branch of the attributes, odd sizes, and channels that do and do not fill vectors.
std::vector<PoolCase> pool_cases();
}  // namespace detail

}  // namespace millrace
