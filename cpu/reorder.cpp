#include "core/reorder.h"

#include <algorithm>

#include "cpu/parallel.h"
#include "cpu/versions.h"

namespace millrace::cpu {
namespace {

struct Tables {
  LayoutTable from, to;
  Shape shape;        // of rank 5, with extents of 1 in front
  int64_t count = 0;  // elements of the result, pads included
};

Shape rank5(const Shape& s) {
  std::array<int64_t, 5> e{1, 1, 1, 1, 1};
  for (int axis = 0; axis < s.rank(); ++axis) e[static_cast<size_t>(5 - s.rank() + axis)] = s[axis];
  return {e[0], e[1], e[2], e[3], e[4]};
}

LayoutTable rank5(const LayoutTable& table, int rank) {
  LayoutTable result;
  result.fill({0});
  for (int axis = 0; axis < rank; ++axis)
    result[static_cast<size_t>(5 - rank + axis)] = table[static_cast<size_t>(axis)];
  return result;
}

std::optional<Prepared> prepare(const Op& op, std::span<const Spec> in, std::span<const Spec>) {
  const ReorderAttrs& a = static_cast<const Reorder&>(op).attrs;
  const Shape& s = in[0].shape;
  const auto tables = std::make_shared<Tables>(Tables{.from = rank5(layout_table(a.from, s), s.rank()),
                                                      .to = rank5(layout_table(a.to, s), s.rank()),
                                                      .shape = rank5(s),
                                                      .count = a.to.count(s)});
  return Prepared{.state = tables, .workspace_bytes = 0, .implementation = {}, .layouts = {{a.from}, {a.to}}};
}

template <class T> void reorder(const KernelArgs& args) {
  const auto& t = *static_cast<const Tables*>(args.prepared);
  const T* x = args.in[0].as<T>();
  T* y = args.out[0].as<T>();
  if (t.count != t.shape.count()) std::fill(y, y + t.count, T(0));
  const Shape s = t.shape;
  parallel_rows(s[0] * s[1] * s[2], s.count(), [&, x, y](int64_t row) {
    const auto a = static_cast<size_t>(row / (s[1] * s[2])), b = static_cast<size_t>(row / s[2] % s[1]),
               c = static_cast<size_t>(row % s[2]);
    const int64_t from = t.from[0][a] + t.from[1][b] + t.from[2][c];
    const int64_t to = t.to[0][a] + t.to[1][b] + t.to[2][c];
    for (size_t d = 0; d < t.from[3].size(); ++d) {
      for (size_t e = 0; e < t.from[4].size(); ++e)
        y[to + t.to[3][d] + t.to[4][e]] = x[from + t.from[3][d] + t.from[4][e]];
    }
  });
}

template <class T> void add(Registry& r, Dtype dtype) {
  r.add_kernel({.op = Reorder::kName,
                .device = "cpu",
                .version = "plain",
                .dtype = dtype,
                .run = reorder<T>,
                .prepare = prepare});
}

}  // namespace

void register_reorder(Registry& r) {
  add<double>(r, Dtype::f64);
  add<float>(r, Dtype::f32);
#ifdef MILLRACE_HAVE_ONEDNN
  register_reorder_onednn(r);
#endif
}

}  // namespace millrace::cpu
