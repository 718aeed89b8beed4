#include "core/reorder.h"
#include "cuda/elementwise.cuh"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kRank = Shape::kMaxRank;

// One axis in one layout: index i lies at i / block * outer + i % block * inner.
struct Axis {
  int64_t block = 1, outer = 0, inner = 0;

  __device__ int64_t operator()(int64_t i) const { return i / block * outer + i % block * inner; }
};

// Both layouts of a value; axes of extent 1 stand before those of its shape.
struct Arrays {
  int64_t extent[kRank], padded[kRank];  // padded: with what fills up `to`
  Axis from[kRank], to[kRank];
  int64_t count;  // elements of the result
};

int64_t round_up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

// And how long each axis is in memory.
void set_axes(const Layout& layout, const Shape& s, Axis* axes, int64_t* padded) {
  for (int axis = 0; axis < s.rank(); ++axis) padded[axis] = s[axis];
  for (const Layout::Block& pad : layout.pads) padded[pad.axis] = round_up(s[pad.axis], pad.size);
  int64_t stride = 1;
  for (auto b = layout.blocks.rbegin(); b != layout.blocks.rend(); ++b) {
    axes[b->axis].block = b->size;
    axes[b->axis].inner = stride;
    stride *= b->size;
  }
  for (int k = s.rank(); k-- > 0;) {
    const int axis = layout.dense() ? k : layout.order[static_cast<size_t>(k)];
    padded[axis] = round_up(padded[axis], axes[axis].block);
    axes[axis].outer = stride;
    stride *= padded[axis] / axes[axis].block;
  }
}

std::optional<Prepared> prepare(const Op& op, std::span<const Spec> in, std::span<const Spec>) {
  const ReorderAttrs& attrs = static_cast<const Reorder&>(op).attrs;
  const Shape& s = in[0].shape;
  Arrays a{};
  const int front = kRank - s.rank();
  set_axes(attrs.from, s, a.from + front, a.padded + front);
  set_axes(attrs.to, s, a.to + front, a.padded + front);
  for (int k = 0; k < kRank; ++k) {
    a.extent[k] = k < front ? 1 : s[k - front];
    if (k < front) a.padded[k] = 1;
  }
  a.count = attrs.to.count(s);
  return Prepared{.state = std::make_shared<Arrays>(a),
                  .workspace_bytes = 0,
                  .implementation = {},
                  .layouts = {{attrs.from}, {attrs.to}}};
}

// One thread per element of y, those that fill up blocks included, in the order of the shape: of the two
// arrays that one is accessed in whole lines which has the last axis innermost. Bytes per element: one
// written, one read.
template <class T> __global__ void __launch_bounds__(kPointwiseBlock)
    reorder_elements(Arrays a, const T* x, T* y) {
  int64_t rest = global_thread();
  if (rest >= a.count) return;
  int64_t from = 0, to = 0;
  bool pad = false;
#pragma unroll
  for (int k = kRank - 1; k >= 0; --k) {
    const int64_t i = rest % a.padded[k];
    rest /= a.padded[k];
    pad = pad || i >= a.extent[k];
    from += a.from[k](i);
    to += a.to[k](i);
  }
  y[to] = pad ? T{} : x[from];
}

template <class T> void reorder(const KernelArgs& args) {
  const auto& arrays = *static_cast<const Arrays*>(args.prepared);
  launch(reorder_elements<T>, {.grid = blocks_for(arrays.count, kPointwiseBlock), .block = kPointwiseBlock},
         args.stream, arrays, args.in[0].as<const T>(), args.out[0].as<T>());
}

}  // namespace

// No faster rung: kernels go along with padded channels, so that a bf16 step has no reorder, and one in f32
// that of the images.
void register_reorder(Registry& r) {
  add_cuda_kernel(r, {.op = Reorder::kName, .run = reorder<float>, .prepare = prepare});
  add_cuda_kernel(r, {.op = Reorder::kName, .dtype = Dtype::bf16, .run = reorder<Bf16>, .prepare = prepare});
}

}  // namespace MILLRACE_CUDA_NS
