#include "core/cast.h"
#include "cuda/elementwise.cuh"

namespace MILLRACE_CUDA_NS {
namespace {

struct Same {
  __device__ float operator()(float x) const { return x; }
};

template <Rung kRung> void cast(const KernelArgs& args) {
  pointwise<float, kRung>(args, Same{}, args.in[0].as<const float>());
}

// Eight numbers a thread to bf16, four from there.
template <Rung kRung> void cast_bf16(const KernelArgs& args) {
  if (args.out[0].dtype == Dtype::bf16)
    pointwise<Bf16, kRung>(args, Same{}, args.in[0].as<const float>());
  else
    pointwise<float, kRung>(args, Same{}, args.in[0].as<const Bf16>());
}

struct Rounded {
  __device__ float operator()(float x) const { return to_float(from_float<Bf16>(x)); }
};

template <Rung kRung> void round_bf16(const KernelArgs& args) {
  pointwise<float, kRung>(args, Rounded{}, args.in[0].as<const float>());
}

}  // namespace

void register_cast(Registry& r) {
  add_pointwise(r, Cast::kName, {cast<Rung::plain>, cast<Rung::vector>},
                {cast_bf16<Rung::plain>, cast_bf16<Rung::vector>});
  add_cuda_kernel(r, {.op = RoundBf16::kName, .run = round_bf16<Rung::plain>});
  add_cuda_kernel(
      r, {.op = RoundBf16::kName, .version = "vector", .run = round_bf16<Rung::vector>, .preference = 1});
}

}  // namespace MILLRACE_CUDA_NS
