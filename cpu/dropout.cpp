#include "layers/dropout.h"

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void dropout(const KernelArgs& args) {
  const DropoutFactor<T> factor(args.attrs<Dropout>());
  const T* x = args.in[0].as<T>();
  const int64_t* at = args.in[1].as<int64_t>();
  T* y = args.out[0].as<T>();
  parallel_for(args.out[0].count(), [=](int64_t k) { y[k] = x[k] * factor(at, k); });
}

}  // namespace

void register_dropout(Registry& r) { add_cpu_kernel(r, Dropout::kName, dropout<float>, dropout<double>); }

}  // namespace millrace::cpu
