#include "core/cast.h"
#include "cuda/channels.cuh"

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

// One thread per element of y, zeros between its channels and its pitch included. Bytes per element: 2 and 4.
template <class To, class From> __global__ void __launch_bounds__(kPointwiseBlock)
    cast_channels(const From* x, To* y, int64_t count, unsigned C, unsigned x_pitch, unsigned y_pitch) {
  const int64_t at = global_thread();
  if (at >= count) return;
  const int64_t pixel = at / y_pitch;
  const auto c = static_cast<unsigned>(at - pixel * y_pitch);
  y[at] = from_float<To>(c < C ? to_float(x[pixel * x_pitch + c]) : 0.0f);
}

template <class To, class From> void cast_pitched(const KernelArgs& args) {
  const int64_t C = args.in[0].shape[3], pitch = pitch_out(args, 0);
  const int64_t count = args.out[0].count() / C * pitch;
  launch(cast_channels<To, From>, {.grid = blocks_for(count, kPointwiseBlock), .block = kPointwiseBlock},
         args.stream, args.in[0].as<const From>(), args.out[0].as<To>(), count, static_cast<unsigned>(C),
         static_cast<unsigned>(pitch_in(args, 0)), static_cast<unsigned>(pitch));
}

void cast_channels_bf16(const KernelArgs& args) {
  if (args.out[0].dtype == Dtype::bf16)
    cast_pitched<Bf16, float>(args);
  else
    cast_pitched<float, Bf16>(args);
}

// Only where channels are padded on a side; the other rungs do the rest.
std::optional<Prepared> follow(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  if (in[0].shape.rank() != 4) return {};
  return with_pitches(in, out);
}
std::optional<Prepared> prepare_channels(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  std::optional<Prepared> prepared = follow(op, in, out);
  if (prepared && prepared->layouts.out[0].dense()) return {};
  return prepared;
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
  add_cuda_kernel(r, {.op = Cast::kName,
                      .version = "channels",
                      .dtype = Dtype::bf16,
                      .run = cast_channels_bf16,
                      .prepare = prepare_channels,
                      .preference = 2,
                      .follow = follow});
  add_cuda_kernel(r, {.op = RoundBf16::kName, .run = round_bf16<Rung::plain>});
  add_cuda_kernel(
      r, {.op = RoundBf16::kName, .version = "vector", .run = round_bf16<Rung::vector>, .preference = 1});
}

}  // namespace MILLRACE_CUDA_NS
