#include "layers/lrn.h"

#include "cpu/parallel.h"
#include "cpu/power.h"

namespace millrace::cpu {
namespace {

template <class T> void lrn(const KernelArgs& args) {
  const LrnAttrs& a = args.attrs<Lrn>();
  const T* x = args.in[0].as<T>();
  T* y = args.out[0].as<T>();
  const T weight = static_cast<T>(a.alpha / static_cast<double>(a.size));
  const T k = static_cast<T>(a.k), exponent = static_cast<T>(-a.beta);
  parallel_for(args.out[0].count() / 3, [=](int64_t f) {
    const T b = x[3 * f], g = x[3 * f + 1], r = x[3 * f + 2];
    const T factor = power(k + weight * (b * b + g * g + r * r), exponent);
    y[3 * f] = b * factor;
    y[3 * f + 1] = g * factor;
    y[3 * f + 2] = r * factor;
  });
}

}  // namespace

void register_lrn(Registry& r) { add_cpu_kernel(r, Lrn::kName, lrn<float>, lrn<double>); }

}  // namespace millrace::cpu
