#include "layers/sub.h"

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void sub(const KernelArgs& args) {
  const T* a = args.in[0].as<T>();
  const T* b = args.in[1].as<T>();
  T* y = args.out[0].as<T>();
  parallel_for(args.out[0].count(), [=](int64_t k) { y[k] = SubFormula{}(a[k], b[k]); });
}

}  // namespace

void register_sub(Registry& r) { add_cpu_kernel(r, Sub::kName, sub<float>, sub<double>); }

}  // namespace millrace::cpu
