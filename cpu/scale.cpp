#include "layers/scale.h"

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void scale(const KernelArgs& args) {
  const ScaleFormula<T> scaled{static_cast<T>(args.attrs<Scale>().factor)};
  const T* x = args.in[0].as<T>();
  T* y = args.out[0].as<T>();
  parallel_for(args.out[0].count(), [=](int64_t k) { y[k] = scaled(x[k]); });
}

}  // namespace

void register_scale(Registry& r) { add_cpu_kernel(r, Scale::kName, scale<float>, scale<double>); }

}  // namespace millrace::cpu
