#include "cuda/channels.cuh"
#include "layers/bias.h"
#include "layers/decoder_join.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

// Index is the type of all index arithmetic.
template <class Index> struct Channels {
  Index skip, up, flow;

  __host__ __device__ Index all() const { return skip + up + flow; }
};

template <class T> struct Inputs {
  const T *skip, *up, *flow;
  const float *b, *b_flow;
};

template <class Index> __device__ Index thread_of_grid() {
  return static_cast<Index>(blockIdx.x) * static_cast<Index>(kBlock) + static_cast<Index>(threadIdx.x);
}

// One thread per kLanes neighbours of y, which belong to one part: only warps on the border of two parts
// diverge. y is written in one piece, the parts are read in pieces of their widths. Bytes per output: one
// number written, one read. The biases come from the L1 cache. The ops
// one by one read and write what is upsampled once more.
template <class T, int kLanes, class Index> __global__ void __launch_bounds__(kBlock)
    join(Inputs<T> in, Channels<Index> C, Index count, BiasFormula<float> leaky, T* y) {
  const auto at = thread_of_grid<Index>();
  if (at >= count) return;
  const Index vectors = C.all() / kLanes, c = at % vectors * kLanes;
  const int64_t pixel = at / vectors;
  Floats<kLanes> value, bias{};
  BiasFormula<float> formula{1};
  if (c < C.skip) {
    value = load_floats<kLanes>(in.skip + pixel * C.skip + c);
  } else if (c < C.skip + C.up) {
    const Index u = c - C.skip;
    value = load_floats<kLanes>(in.up + pixel * C.up + u);
    bias = load_floats<kLanes>(in.b + u);
    formula = leaky;
  } else {
    const Index f = c - C.skip - C.up;
    value = load_floats<kLanes>(in.flow + pixel * C.flow + f);
    bias = load_floats<kLanes>(in.b_flow + f);
  }
#pragma unroll
  for (int i = 0; i < kLanes; ++i) value[i] = formula(value[i], bias[i]);
  store_floats(y + int64_t{at} * kLanes, value);
}

template <class T> struct Gradients { T *skip, *up, *flow; };

// The same mapping, of dy. Bytes per input: one number read, one written; of y only the
// channels of `up` are read. The ops one by one, three slices and the gradient of the leaky ReLU, read and
// write those once more.
template <class T, int kLanes, class Index> __global__ void __launch_bounds__(kBlock)
    split(const T* dy, const T* y, Channels<Index> C, Index count, LeakyReluDxFormula<float> leaky_dx,
          Gradients<T> out) {
  const auto at = thread_of_grid<Index>();
  if (at >= count) return;
  const Index vectors = C.all() / kLanes, c = at % vectors * kLanes;
  const int64_t pixel = at / vectors;
  Floats<kLanes> value = load_floats<kLanes>(dy + int64_t{at} * kLanes);
  if (c < C.skip) {
    store_floats(out.skip + pixel * C.skip + c, value);
  } else if (c < C.skip + C.up) {
    const Floats<kLanes> sign = load_floats<kLanes>(y + int64_t{at} * kLanes);
#pragma unroll
    for (int i = 0; i < kLanes; ++i) value[i] = leaky_dx(value[i], sign[i]);
    store_floats(out.up + pixel * C.up + (c - C.skip), value);
  } else {
    store_floats(out.flow + pixel * C.flow + (c - C.skip - C.up), value);
  }
}

// Rung::plain: one channel per thread, in 64 bits. Rung::vector: the widest vectors that fit all parts, in 32
// bits, where divisions are cheap.
template <Rung kRung> using IndexOf = std::conditional_t<kRung == Rung::plain, int64_t, unsigned>;

// body(lanes as a constant of the compiler), with 1 for the plain rung.
template <class T, Rung kRung, class F> void with_lanes_of(int lanes, F body) {
  if constexpr (kRung == Rung::plain)
    body(std::integral_constant<int, 1>{});
  else
    with_lanes<T>(lanes, body);
}

template <class T, Rung kRung> void decoder_join(const KernelArgs& args) {
  using Index = IndexOf<kRung>;
  const int64_t S = args.in[0].shape[3], U = args.in[1].shape[3], F = args.in[3].shape[3];
  const Inputs<T> in{args.in[0].as<const T>(), args.in[1].as<const T>(), args.in[3].as<const T>(),
                     args.in[2].as<const float>(), args.in[4].as<const float>()};
  T* y = args.out[0].as<T>();
  const auto negative_slope = static_cast<float>(args.attrs<DecoderJoin>().negative_slope);
  const int lanes = widest_lanes<T>({S, U, F, element_of(in.skip), element_of(in.up), element_of(in.b),
                                     element_of(in.flow), element_of(in.b_flow), element_of(y)});
  with_lanes_of<T, kRung>(lanes, [&](auto lane_count) {
    constexpr int kLanes = decltype(lane_count)::value;
    const int64_t count = args.out[0].count() / kLanes;
    launch(join<T, kLanes, Index>, {.grid = blocks_for(count, kBlock), .block = kBlock}, args.stream, in,
           Channels<Index>{static_cast<Index>(S), static_cast<Index>(U), static_cast<Index>(F)},
           static_cast<Index>(count), BiasFormula<float>{negative_slope}, y);
  });
}

template <class T, Rung kRung> void decoder_join_dx(const KernelArgs& args) {
  using Index = IndexOf<kRung>;
  const DecoderJoinDxAttrs& a = args.attrs<DecoderJoinDx>();
  const T* dy = args.in[0].as<const T>();
  const T* y = args.in[1].as<const T>();
  const Gradients<T> out{args.out[0].as<T>(), args.out[1].as<T>(), args.out[2].as<T>()};
  const int64_t F = args.out[2].shape[3];
  const int lanes = widest_lanes<T>({a.skip, a.up, F, element_of(dy), element_of(y), element_of(out.skip),
                                     element_of(out.up), element_of(out.flow)});
  with_lanes_of<T, kRung>(lanes, [&](auto lane_count) {
    constexpr int kLanes = decltype(lane_count)::value;
    const int64_t count = args.in[0].count() / kLanes;
    launch(split<T, kLanes, Index>, {.grid = blocks_for(count, kBlock), .block = kBlock}, args.stream, dy, y,
           Channels<Index>{static_cast<Index>(a.skip), static_cast<Index>(a.up), static_cast<Index>(F)},
           static_cast<Index>(count), LeakyReluDxFormula<float>{static_cast<float>(a.negative_slope)}, out);
  });
}

// The channels of each part must be a multiple of two.
std::optional<Prepared> prepare_vector(std::initializer_list<int64_t> channels, const Shape& y) {
  for (int64_t C : channels) {
    if (C % 2 != 0) return {};
  }
  if (!counts_in_32_bits(y.count())) return {};
  return Prepared{};
}
std::optional<Prepared> prepare_join(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  return prepare_vector({in[0].shape[3], in[1].shape[3], in[3].shape[3]}, out[0].shape);
}
std::optional<Prepared> prepare_split(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  return prepare_vector({out[0].shape[3], out[1].shape[3], out[2].shape[3]}, in[0].shape);
}

template <class T> void add(Registry& r) {
  constexpr Dtype kDtype = dtype_of<T>();
  add_cuda_kernel(r, {.op = DecoderJoin::kName, .dtype = kDtype, .run = decoder_join<T, Rung::plain>});
  add_cuda_kernel(r, {.op = DecoderJoinDx::kName, .dtype = kDtype, .run = decoder_join_dx<T, Rung::plain>});
  add_cuda_kernel(r, {.op = DecoderJoin::kName,
                      .version = "vector",
                      .dtype = kDtype,
                      .run = decoder_join<T, Rung::vector>,
                      .prepare = prepare_join,
                      .preference = 1});
  add_cuda_kernel(r, {.op = DecoderJoinDx::kName,
                      .version = "vector",
                      .dtype = kDtype,
                      .run = decoder_join_dx<T, Rung::vector>,
                      .prepare = prepare_split,
                      .preference = 1});
}

}  // namespace

void register_decoder_join(Registry& r) {
  add<float>(r);
  add<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
