#include "core/add.h"
#include "cuda/elementwise.cuh"

namespace MILLRACE_CUDA_NS {
namespace {

template <class T, Rung kRung> void add(const KernelArgs& args) {
  pointwise<T, kRung>(args, AddFormula{}, args.in[0].as<const T>(), args.in[1].as<const T>());
}

}  // namespace

void register_add(Registry& r) {
  add_pointwise(r, Add::kName, {add<float, Rung::plain>, add<float, Rung::vector>},
                {add<Bf16, Rung::plain>, add<Bf16, Rung::vector>});
}

}  // namespace MILLRACE_CUDA_NS
