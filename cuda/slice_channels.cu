#include "cuda/channels.cuh"
#include "layers/slice_channels.h"

namespace MILLRACE_CUDA_NS {
namespace {

template <class T, Rung kRung> void slice_channels(const KernelArgs& args) {
  const int64_t begin = args.attrs<SliceChannels>().begin;
  const Tensor& x = args.in[0];
  Joiner<T, kRung> y(args.out[0], pitch_out(args, 0), args.stream);
  y.add(x.as<const T>() + begin, pitch_in(args, 0), args.out[0].shape[3]);
  y.finish();
}

template <class T, Rung kRung> void embed_channels(const KernelArgs& args) {
  const EmbedChannelsAttrs& a = args.attrs<EmbedChannels>();
  const Tensor& x = args.in[0];
  const int64_t C = x.shape[3];
  Joiner<T, kRung> y(args.out[0], pitch_out(args, 0), args.stream);
  y.add(nullptr, 0, a.begin);
  y.add(x.as<const T>(), pitch_in(args, 0), C);
  y.add(nullptr, 0, a.total - a.begin - C);
  y.finish();
}

std::optional<Prepared> prepare(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  return with_pitches(in, out);
}

// All numbers of channels must be multiples of two.
std::optional<Prepared> prepare_vector(int64_t begin, std::span<const Spec> in, std::span<const Spec> out) {
  const Shape &x = in[0].shape, &y = out[0].shape;
  const bool even = begin % 2 == 0 && x[3] % 2 == 0 && y[3] % 2 == 0;
  if (!even || !counts_in_32_bits(y.count())) return {};
  return with_pitches(in, out);
}
std::optional<Prepared> prepare_slice(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  return prepare_vector(static_cast<const SliceChannels&>(op).attrs.begin, in, out);
}
std::optional<Prepared> prepare_embed(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  return prepare_vector(static_cast<const EmbedChannels&>(op).attrs.begin, in, out);
}

template <class T> void add(Registry& r) {
  constexpr Dtype kDtype = dtype_of<T>();
  add_cuda_kernel(r, {.op = SliceChannels::kName,
                      .dtype = kDtype,
                      .run = slice_channels<T, Rung::plain>,
                      .prepare = prepare,
                      .follow = prepare});
  add_cuda_kernel(r, {.op = EmbedChannels::kName,
                      .dtype = kDtype,
                      .run = embed_channels<T, Rung::plain>,
                      .prepare = prepare,
                      .follow = prepare});
  add_cuda_kernel(r, {.op = SliceChannels::kName,
                      .version = "vector",
                      .dtype = kDtype,
                      .run = slice_channels<T, Rung::vector>,
                      .prepare = prepare_slice,
                      .preference = 1,
                      .follow = prepare_slice});
  add_cuda_kernel(r, {.op = EmbedChannels::kName,
                      .version = "vector",
                      .dtype = kDtype,
                      .run = embed_channels<T, Rung::vector>,
                      .prepare = prepare_embed,
                      .preference = 1,
                      .follow = prepare_embed});
}

}  // namespace

void register_slice_channels(Registry& r) {
  add<float>(r);
  add<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
