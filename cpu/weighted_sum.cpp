#include "losses/weighted_sum.h"

namespace millrace::cpu {
namespace {

template <class T> void weighted_sum(const KernelArgs& args) {
  const std::vector<double>& weights = args.attrs<WeightedSum>().weights;
  double sum = 0;
  for (size_t m = 0; m < weights.size(); ++m) sum += weights[m] * static_cast<double>(*args.in[m].as<T>());
  *args.out[0].as<T>() = static_cast<T>(sum);
}

}  // namespace

void register_weighted_sum(Registry& r) {
  add_cpu_kernel(r, WeightedSum::kName, weighted_sum<float>, weighted_sum<double>);
}

}  // namespace millrace::cpu
