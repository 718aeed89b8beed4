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
    if (slice != place) std::copy(slice, slice + args.in[i].count(), place);
    end = attrs.offsets[i] + args.in[i].count();
  }
  std::fill(out + end, out + attrs.total, T(0));
}

}  // namespace

void register_pack(Registry& r) { add_cpu_kernel(r, Pack::kName, pack<float>, pack<double>); }

}  // namespace millrace::cpu
