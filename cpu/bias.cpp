#include "layers/bias.h"

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void bias(const KernelArgs& args) {
  const T slope = static_cast<T>(args.attrs<Bias>().negative_slope);
  const int64_t C = args.in[1].count();
  const T* x = args.in[0].as<T>();
  const T* b = args.in[1].as<T>();
  T* y = args.out[0].as<T>();
  parallel_rows(args.out[0].count() / C, args.out[0].count(), [=](int64_t row) {
    for (int64_t c = 0; c < C; ++c) {
      const T sum = x[row * C + c] + b[c];
      y[row * C + c] = sum > 0 ? sum : slope * sum;
    }
  });
}

}  // namespace

void register_bias(Registry& r) { add_cpu_kernel(r, Bias::kName, bias<float>, bias<double>); }

}  // namespace millrace::cpu
