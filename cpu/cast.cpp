#include "core/cast.h"

#include "cpu/follow.h"
#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void cast(const KernelArgs& args) {
  const T* x = args.in[0].as<T>();
  T* y = args.out[0].as<T>();
  parallel_for(elements(args), [=](int64_t k) { y[k] = x[k]; });
}

void cast_bf16(const KernelArgs& args) {
  if (args.out[0].dtype == Dtype::bf16) {
    const float* x = args.in[0].as<float>();
    Bf16* y = args.out[0].as<Bf16>();
    parallel_for(elements(args), [=](int64_t k) { y[k] = round_to_bf16(x[k]); });
  } else {
    const Bf16* x = args.in[0].as<Bf16>();
    float* y = args.out[0].as<float>();
    parallel_for(elements(args), [=](int64_t k) { y[k] = to_float(x[k]); });
  }
}

template <class T> void round_bf16(const KernelArgs& args) {
  const T* x = args.in[0].as<T>();
  T* y = args.out[0].as<T>();
  parallel_for(elements(args), [=](int64_t k) { y[k] = RoundBf16Formula{}(x[k]); });
}

}  // namespace

void register_cast(Registry& r) {
  add_cpu_kernel(r, Cast::kName, cast<float>, cast<double>, follow_elementwise);
  r.add_kernel({.op = Cast::kName,
                .device = "cpu",
                .version = "plain",
                .dtype = Dtype::bf16,
                .run = cast_bf16,
                .follow = follow_elementwise});
  add_cpu_kernel(r, RoundBf16::kName, round_bf16<float>, round_bf16<double>, follow_elementwise);
}

}  // namespace millrace::cpu
