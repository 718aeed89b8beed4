#include "cuda/channels.cuh"
#include "layers/concat.h"

namespace MILLRACE_CUDA_NS {
namespace {

template <class T, Rung kRung> void concat(const KernelArgs& args) {
  Joiner<T, kRung> y(args.out[0], args.stream);
  for (const Tensor& in : args.in) y.add(in.as<const T>(), in.shape[3], in.shape[3]);
  y.flush();
}

// The channels of each input must be a multiple of two.
std::optional<Prepared> prepare_vector(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  for (const Spec& s : in) {
    if (s.shape[3] % 2 != 0) return {};
  }
  if (!counts_in_32_bits(out[0].shape.count())) return {};
  return Prepared{};
}

template <class T> void add(Registry& r) {
  constexpr Dtype kDtype = dtype_of<T>();
  add_cuda_kernel(r, {.op = Concat::kName, .dtype = kDtype, .run = concat<T, Rung::plain>});
  add_cuda_kernel(r, {.op = Concat::kName,
                      .version = "vector",
                      .dtype = kDtype,
                      .run = concat<T, Rung::vector>,
                      .prepare = prepare_vector,
                      .preference = 1});
}

}  // namespace

void register_concat(Registry& r) {
  add<float>(r);
  add<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
