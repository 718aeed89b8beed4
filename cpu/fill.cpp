#include "core/fill.h"

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void fill(const KernelArgs& args) {
  T* y = args.out[0].as<T>();
  const FillFormula<T> constant{static_cast<T>(args.attrs<Fill>().value)};
  parallel_for(args.out[0].count(), [=](int64_t k) { y[k] = constant(); });
}

}  // namespace

void register_fill(Registry& r) { add_cpu_kernel(r, Fill::kName, fill<float>, fill<double>); }

}  // namespace millrace::cpu
