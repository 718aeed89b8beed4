#include "layers/dropout.h"

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void dropout(const KernelArgs& args) {
  const DropoutFactor<T> factor(args.attrs<Dropout>());
  const T* x = args.in[0].as<T>();
  const int64_t* at = args.in[1].as<int64_t>();
  T* y = args.out[0].as<T>();
  constexpr int64_t kGroup = DropoutFactor<T>::kGroup;
  const int64_t count = args.out[0].count(), groups = count / kGroup;
  parallel_for(groups, [=](int64_t group) {
    const PhiloxBlock b = factor.words(at, group);
    for (int64_t i = 0; i < kGroup; ++i) y[group * kGroup + i] = x[group * kGroup + i] * factor.of(b.word[i]);
  });
  for (int64_t k = groups * kGroup; k < count; ++k) y[k] = x[k] * factor(at, k);
}

}  // namespace

void register_dropout(Registry& r) { add_cpu_kernel(r, Dropout::kName, dropout<float>, dropout<double>); }

}  // namespace millrace::cpu
