#include "cuda/elementwise.cuh"
#include "layers/sub.h"

namespace MILLRACE_CUDA_NS {
namespace {

template <class T, Rung kRung> void sub(const KernelArgs& args) {
  pointwise<T, kRung>(args, SubFormula{}, args.in[0].as<const T>(), args.in[1].as<const T>());
}

}  // namespace

void register_sub(Registry& r) {
  add_pointwise(r, Sub::kName, {sub<float, Rung::plain>, sub<float, Rung::vector>},
                {sub<Bf16, Rung::plain>, sub<Bf16, Rung::vector>});
}

}  // namespace MILLRACE_CUDA_NS
