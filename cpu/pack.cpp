#include "core/pack.h"

#include <algorithm>
#include <cstring>

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void pack(const KernelArgs& args) {
  const PackAttrs& attrs = args.attrs<Pack>();
  T* out = args.out[0].as<T>();
  int64_t end = 0;
  for (size_t i = 0; i < args.in.size(); ++i) {
    T* place = out + attrs.offsets[i];
    const T* slice = args.in[i].as<T>();
    std::fill(out + end, place, T(0));
    const int64_t count = attrs.count(i, args.in[i].shape);
    if (slice != place) std::copy(slice, slice + count, place);
    end = attrs.offsets[i] + count;
  }
  std::fill(out + end, out + attrs.total, T(0));
}

std::optional<Prepared> prepare(const Op& op, std::span<const Spec>, std::span<const Spec>) {
  const std::vector<Layout>& layouts = static_cast<const Pack&>(op).attrs.layouts;
  if (layouts.empty()) return Prepared{};
  return Prepared{.state = {}, .layouts = {layouts, {Layout{}}}};
}

template <class T> void add(Registry& r, Dtype dtype) {
  r.add_kernel({.op = Pack::kName,
                .device = "cpu",
                .version = "plain",
                .dtype = dtype,
                .run = pack<T>,
                .prepare = prepare});
}

}  // namespace

void register_pack(Registry& r) {
  add<double>(r, Dtype::f64);
  add<float>(r, Dtype::f32);
}

}  // namespace millrace::cpu
