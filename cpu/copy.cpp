#include "core/copy.h"

#include "cpu/follow.h"
#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void copy(const KernelArgs& args) {
  const T* x = args.in[0].as<T>();
  T* y = args.out[0].as<T>();
  parallel_for(elements(args), [=](int64_t k) { y[k] = CopyFormula{}(x[k]); });
}

}  // namespace

void register_copy(Registry& r) {
  add_cpu_kernel(r, Copy::kName, copy<float>, copy<double>, follow_elementwise);
}

}  // namespace millrace::cpu
