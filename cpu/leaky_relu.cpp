#include "layers/leaky_relu.h"

#include "cpu/follow.h"
#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void leaky_relu(const KernelArgs& args) {
  const LeakyReluFormula<T> leaky{static_cast<T>(args.attrs<LeakyRelu>().slope)};
  const T* x = args.in[0].as<T>();
  T* y = args.out[0].as<T>();
  parallel_for(elements(args), [=](int64_t k) { y[k] = leaky(x[k]); });
}

template <class T> void leaky_relu_dx(const KernelArgs& args) {
  const LeakyReluDxFormula<T> leaky_dx{static_cast<T>(args.attrs<LeakyReluDx>().slope)};
  const T* dy = args.in[0].as<T>();
  const T* y = args.in[1].as<T>();
  T* dx = args.out[0].as<T>();
  parallel_for(elements(args), [=](int64_t k) { dx[k] = leaky_dx(dy[k], y[k]); });
}

}  // namespace

void register_leaky_relu(Registry& r) {
  add_cpu_kernel(r, LeakyRelu::kName, leaky_relu<float>, leaky_relu<double>, follow_elementwise);
  add_cpu_kernel(r, LeakyReluDx::kName, leaky_relu_dx<float>, leaky_relu_dx<double>, follow_elementwise);
}

}  // namespace millrace::cpu
