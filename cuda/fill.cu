#include "core/fill.h"
#include "cuda/elementwise.cuh"

namespace MILLRACE_CUDA_NS {
namespace {

template <class T, Rung kRung> void fill(const KernelArgs& args) {
  pointwise<T, kRung>(args, FillFormula<float>{static_cast<float>(args.attrs<Fill>().value)});
}

}  // namespace

void register_fill(Registry& r) {
  add_pointwise(r, Fill::kName, {fill<float, Rung::plain>, fill<float, Rung::vector>},
                {fill<Bf16, Rung::plain>, fill<Bf16, Rung::vector>});
}

}  // namespace MILLRACE_CUDA_NS
