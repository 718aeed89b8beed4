#include "core/copy.h"
#include "cuda/elementwise.cuh"

namespace MILLRACE_CUDA_NS {
namespace {

template <class T, Rung kRung> void copy(const KernelArgs& args) {
  pointwise<T, kRung>(args, CopyFormula{}, args.in[0].as<const T>());
}

}  // namespace

void register_copy(Registry& r) {
  add_pointwise(r, Copy::kName, {copy<float, Rung::plain>, copy<float, Rung::vector>},
                {copy<Bf16, Rung::plain>, copy<Bf16, Rung::vector>});
}

}  // namespace MILLRACE_CUDA_NS
