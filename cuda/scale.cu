#include "cuda/elementwise.cuh"
#include "layers/scale.h"

namespace MILLRACE_CUDA_NS {
namespace {

template <class T, Rung kRung> void scale(const KernelArgs& args) {
  const auto factor = static_cast<float>(args.attrs<Scale>().factor);
  pointwise<T, kRung>(args, ScaleFormula<float>{factor}, args.in[0].as<const T>());
}

}  // namespace

void register_scale(Registry& r) {
  add_pointwise(r, Scale::kName, {scale<float, Rung::plain>, scale<float, Rung::vector>},
                {scale<Bf16, Rung::plain>, scale<Bf16, Rung::vector>});
}

}  // namespace MILLRACE_CUDA_NS
