#include "cuda/elementwise.cuh"
#include "layers/leaky_relu.h"

namespace MILLRACE_CUDA_NS {
namespace {

template <class T, Rung kRung> void leaky_relu(const KernelArgs& args) {
  const auto slope = static_cast<float>(args.attrs<LeakyRelu>().slope);
  pointwise<T, kRung>(args, LeakyReluFormula<float>{slope}, args.in[0].as<const T>());
}

template <class T, Rung kRung> void leaky_relu_dx(const KernelArgs& args) {
  const auto slope = static_cast<float>(args.attrs<LeakyReluDx>().slope);
  pointwise<T, kRung>(args, LeakyReluDxFormula<float>{slope}, args.in[0].as<const T>(),
                      args.in[1].as<const T>());
}

}  // namespace

void register_leaky_relu(Registry& r) {
  add_pointwise(r, LeakyRelu::kName, {leaky_relu<float, Rung::plain>, leaky_relu<float, Rung::vector>},
                {leaky_relu<Bf16, Rung::plain>, leaky_relu<Bf16, Rung::vector>});
  add_pointwise(r, LeakyReluDx::kName,
                {leaky_relu_dx<float, Rung::plain>, leaky_relu_dx<float, Rung::vector>},
                {leaky_relu_dx<Bf16, Rung::plain>, leaky_relu_dx<Bf16, Rung::vector>});
}

}  // namespace MILLRACE_CUDA_NS
