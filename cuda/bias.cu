#include "cuda/channels.cuh"
#include "layers/bias.h"

namespace MILLRACE_CUDA_NS {
namespace {

// One thread per element, those between C and the pitch included, which are zeros. Bytes per element: x and
// y, 8 in float and 4 in bf16; b comes from the L1 cache.
template <class T> __global__ void __launch_bounds__(kPointwiseBlock)
    bias_elements(BiasFormula<float> formula, int64_t count, int64_t C, int64_t pitch, const T* x,
                  const float* b, T* y) {
  const int64_t k = global_thread();
  if (k >= count) return;
  const int64_t c = k % pitch;
  y[k] = from_float<T>(c < C ? formula(to_float(x[k]), b[c]) : 0.0f);
}

// The same bytes, kLanes neighbours of one pixel per thread, which are channels or zeros all of them: one
// access moves up to 16 bytes, and the division that finds the channel, in 32 bits here, serves them all.
template <class T, int kLanes> __global__ void __launch_bounds__(kPointwiseBlock)
    bias_vectors(BiasFormula<float> formula, unsigned vectors, unsigned C, unsigned pitch, const T* x,
                 const float* b, T* y) {
  const unsigned v = blockIdx.x * kPointwiseBlock + threadIdx.x;
  if (v >= vectors) return;
  const int64_t at = int64_t{v} * kLanes;
  const unsigned c = v % (pitch / kLanes) * kLanes;
  Floats<kLanes> value{};
  if (c < C) {
    value = load_floats<kLanes>(x + at);
    const Floats<kLanes> add = load_floats<kLanes>(b + c);
#pragma unroll
    for (int i = 0; i < kLanes; ++i) value[i] = formula(value[i], add[i]);
  }
  store_floats(y + at, value);
}

BiasFormula<float> formula_of(const KernelArgs& args) {
  return {static_cast<float>(args.attrs<Bias>().negative_slope)};
}

// Of x and y, which lie alike.
int64_t memory_elements(const KernelArgs& args) {
  return args.in[0].count() / args.in[1].count() * pitch_in(args, 0);
}

template <class T> void bias_plain(const KernelArgs& args) {
  const int64_t count = memory_elements(args);
  launch(bias_elements<T>, {.grid = blocks_for(count, kPointwiseBlock), .block = kPointwiseBlock},
         args.stream, formula_of(args), count, args.in[1].count(), pitch_in(args, 0),
         args.in[0].as<const T>(), args.in[1].as<const float>(), args.out[0].as<T>());
}

template <class T> void bias_vector(const KernelArgs& args) {
  const T* x = args.in[0].as<const T>();
  const auto* b = args.in[1].as<const float>();
  T* y = args.out[0].as<T>();
  const int64_t C = args.in[1].count(), pitch = pitch_in(args, 0);
  const int lanes = widest_lanes<T>({C, pitch, element_of(x), element_of(y), element_of(b)});
  with_lanes<T>(lanes, [&](auto lane_count) {
    constexpr int kLanes = decltype(lane_count)::value;
    const int64_t vectors = memory_elements(args) / kLanes;
    launch(bias_vectors<T, kLanes>, {.grid = blocks_for(vectors, kPointwiseBlock), .block = kPointwiseBlock},
           args.stream, formula_of(args), static_cast<unsigned>(vectors), static_cast<unsigned>(C),
           static_cast<unsigned>(pitch), x, b, y);
  });
}

std::optional<Prepared> follow(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  if (!is_channel_padded(in[0].layout)) return {};
  Prepared prepared = with_pitches(in, out);
  prepared.layouts.out = {in[0].layout};
  return prepared;
}

bool fits_vectors(std::span<const Spec> in, std::span<const Spec> out) {
  return in[1].shape[0] % 2 == 0 && counts_in_32_bits(out[0].elements());
}
std::optional<Prepared> prepare_vector(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  return fits_vectors(in, out) ? std::optional(Prepared{}) : std::nullopt;
}

template <class T> void add(Registry& r) {
  constexpr Dtype kDtype = dtype_of<T>();
  add_cuda_kernel(r, {.op = Bias::kName, .dtype = kDtype, .run = bias_plain<T>, .follow = follow});
  add_cuda_kernel(r, {.op = Bias::kName,
                      .version = "vector",
                      .dtype = kDtype,
                      .run = bias_vector<T>,
                      .prepare = prepare_vector,
                      .preference = 1,
                      .follow = follow});
}

}  // namespace

void register_bias(Registry& r) {
  add<float>(r);
  add<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
