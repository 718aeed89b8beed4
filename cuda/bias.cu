#include "cuda/channels.cuh"
#include "layers/bias.h"

namespace MILLRACE_CUDA_NS {
namespace {

// One thread per element. Bytes per element: x and y, 8 in float and 4 in bf16; b comes from the L1 cache.
template <class T> __global__ void __launch_bounds__(kPointwiseBlock)
    bias_elements(BiasFormula<float> formula, int64_t count, int64_t C, const T* x, const float* b, T* y) {
  const int64_t k = global_thread();
  if (k < count) y[k] = from_float<T>(formula(to_float(x[k]), b[k % C]));
}

// The same bytes, kLanes neighbours of one pixel per thread: one access moves up to 16 bytes, and the
// division that finds the channel, in 32 bits here, serves them all.
template <class T, int kLanes> __global__ void __launch_bounds__(kPointwiseBlock)
    bias_vectors(BiasFormula<float> formula, unsigned vectors, unsigned C, const T* x, const float* b, T* y) {
  const unsigned v = blockIdx.x * kPointwiseBlock + threadIdx.x;
  if (v >= vectors) return;
  const int64_t at = int64_t{v} * kLanes;
  Floats<kLanes> value = load_floats<kLanes>(x + at);
  const Floats<kLanes> add = load_floats<kLanes>(b + v % (C / kLanes) * kLanes);
#pragma unroll
  for (int i = 0; i < kLanes; ++i) value[i] = formula(value[i], add[i]);
  store_floats(y + at, value);
}

BiasFormula<float> formula_of(const KernelArgs& args) {
  return {static_cast<float>(args.attrs<Bias>().negative_slope)};
}

template <class T> void bias_plain(const KernelArgs& args) {
  const int64_t count = args.out[0].count();
  launch(bias_elements<T>, {.grid = blocks_for(count, kPointwiseBlock), .block = kPointwiseBlock},
         args.stream, formula_of(args), count, args.in[1].count(), args.in[0].as<const T>(),
         args.in[1].as<const float>(), args.out[0].as<T>());
}

template <class T> void bias_vector(const KernelArgs& args) {
  const T* x = args.in[0].as<const T>();
  const auto* b = args.in[1].as<const float>();
  T* y = args.out[0].as<T>();
  const int64_t C = args.in[1].count();
  const int lanes = widest_lanes<T>({C, element_of(x), element_of(y), element_of(b)});
  with_lanes<T>(lanes, [&](auto lane_count) {
    constexpr int kLanes = decltype(lane_count)::value;
    const int64_t vectors = args.out[0].count() / kLanes;
    launch(bias_vectors<T, kLanes>, {.grid = blocks_for(vectors, kPointwiseBlock), .block = kPointwiseBlock},
           args.stream, formula_of(args), static_cast<unsigned>(vectors), static_cast<unsigned>(C), x, b, y);
  });
}

std::optional<Prepared> prepare_vector(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  if (in[1].shape[0] % 2 != 0 || !counts_in_32_bits(out[0].shape.count())) return {};
  return Prepared{};
}

template <class T> void add(Registry& r) {
  constexpr Dtype kDtype = dtype_of<T>();
  add_cuda_kernel(r, {.op = Bias::kName, .dtype = kDtype, .run = bias_plain<T>});
  add_cuda_kernel(r, {.op = Bias::kName,
                      .version = "vector",
                      .dtype = kDtype,
                      .run = bias_vector<T>,
                      .prepare = prepare_vector,
                      .preference = 1});
}

}  // namespace

void register_bias(Registry& r) {
  add<float>(r);
  add<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
