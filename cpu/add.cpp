#include "core/add.h"

#include "cpu/follow.h"
#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void add(const KernelArgs& args) {
  const T* a = args.in[0].as<T>();
  const T* b = args.in[1].as<T>();
  T* y = args.out[0].as<T>();
  parallel_for(elements(args), [=](int64_t k) { y[k] = AddFormula{}(a[k], b[k]); });
}

}  // namespace

void register_add(Registry& r) { add_cpu_kernel(r, Add::kName, add<float>, add<double>, follow_elementwise); }

}  // namespace millrace::cpu
