#include "cuda/channels.cuh"
#include "layers/concat.h"

namespace MILLRACE_CUDA_NS {
namespace {

template <class T, Rung kRung> void concat(const KernelArgs& args) {
  Joiner<T, kRung> y(args.out[0], pitch_out(args, 0), args.stream);
  for (size_t m = 0; m < args.in.size(); ++m)
    y.add(args.in[m].as<const T>(), pitch_in(args, m), args.in[m].shape[3]);
  y.finish();
}

std::optional<Prepared> prepare(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  return with_pitches(in, out);
}

// The channels of each input must be a multiple of two.
std::optional<Prepared> prepare_vector(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  for (const Spec& s : in) {
    if (s.shape[3] % 2 != 0) return {};
  }
  if (!counts_in_32_bits(out[0].shape.count())) return {};
  return with_pitches(in, out);
}

template <class T> void add(Registry& r) {
  constexpr Dtype kDtype = dtype_of<T>();
  add_cuda_kernel(r, {.op = Concat::kName,
                      .dtype = kDtype,
                      .run = concat<T, Rung::plain>,
                      .prepare = prepare,
                      .follow = prepare});
  add_cuda_kernel(r, {.op = Concat::kName,
                      .version = "vector",
                      .dtype = kDtype,
                      .run = concat<T, Rung::vector>,
                      .prepare = prepare_vector,
                      .preference = 1,
                      .follow = prepare_vector});
}

}  // namespace

void register_concat(Registry& r) {
  add<float>(r);
  add<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
