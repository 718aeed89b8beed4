#include "cuda/channels.cuh"
#include "layers/bias.h"
#include "layers/decoder_join.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

// Of the three parts; and of an operand, how far its pixels lie apart. Index is the type of all index
// arithmetic.
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
// diverge. y is written in one piece, with zeros behind its channels, the parts are read in pieces of their
// widths. Bytes per output: one number written, one read. The biases come from the L1 cache. The ops one by
// one read and write what is upsampled once more.
template <class T, int kLanes, class Index> __global__ void __launch_bounds__(kBlock)
    join(Inputs<T> in, Channels<Index> C, Channels<Index> pitch, Index count, BiasFormula<float> leaky, T* y,
         Index y_pitch) {
  const auto at = thread_of_grid<Index>();
  if (at >= count) return;
  const Index vectors = y_pitch / kLanes, c = at % vectors * kLanes;
  const int64_t pixel = at / vectors;
  Floats<kLanes> value{}, bias{};
  BiasFormula<float> formula{1};
  if (c < C.skip) {
    value = load_floats<kLanes>(in.skip + pixel * pitch.skip + c);
  } else if (c < C.skip + C.up) {
    const Index u = c - C.skip;
    value = load_floats<kLanes>(in.up + pixel * pitch.up + u);
    bias = load_floats<kLanes>(in.b + u);
    formula = leaky;
  } else if (c < C.all()) {
    const Index f = c - C.skip - C.up;
    value = load_floats<kLanes>(in.flow + pixel * pitch.flow + f);
    bias = load_floats<kLanes>(in.b_flow + f);
  }
#pragma unroll
  for (int i = 0; i < kLanes; ++i) value[i] = formula(value[i], bias[i]);
  store_floats(y + int64_t{at} * kLanes, value);
}

template <class T> struct Gradients { T *skip, *up, *flow; };

// One thread per kLanes neighbours of a part, with zeros behind its channels. Bytes per input: one number
// read, one written; of y only the channels of `up` are read. The ops one by one, three slices and the
// gradient of the leaky ReLU, read and write those once more.
template <class T, int kLanes, class Index> __global__ void __launch_bounds__(kBlock)
    split(const T* dy, Index dy_pitch, const T* y, Index y_pitch, Channels<Index> C, Channels<Index> pitch,
          Index count, LeakyReluDxFormula<float> leaky_dx, Gradients<T> out) {
  const auto at = thread_of_grid<Index>();
  if (at >= count) return;
  const Index vectors = pitch.all() / kLanes, c = at % vectors * kLanes;
  const int64_t pixel = at / vectors;
  const T* here = dy + pixel * dy_pitch;
  Floats<kLanes> value{};
  if (c < pitch.skip) {
    if (c < C.skip) value = load_floats<kLanes>(here + c);
    store_floats(out.skip + pixel * pitch.skip + c, value);
  } else if (c < pitch.skip + pitch.up) {
    const Index u = c - pitch.skip;
    if (u < C.up) {
      value = load_floats<kLanes>(here + C.skip + u);
      const Floats<kLanes> sign = load_floats<kLanes>(y + pixel * y_pitch + C.skip + u);
#pragma unroll
      for (int i = 0; i < kLanes; ++i) value[i] = leaky_dx(value[i], sign[i]);
    }
    store_floats(out.up + pixel * pitch.up + u, value);
  } else {
    const Index f = c - pitch.skip - pitch.up;
    if (f < C.flow) value = load_floats<kLanes>(here + C.skip + C.up + f);
    store_floats(out.flow + pixel * pitch.flow + f, value);
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

template <class Index> Channels<Index> channels(int64_t skip, int64_t up, int64_t flow) {
  return {static_cast<Index>(skip), static_cast<Index>(up), static_cast<Index>(flow)};
}

template <class T, Rung kRung> void decoder_join(const KernelArgs& args) {
  using Index = IndexOf<kRung>;
  const int64_t S = args.in[0].shape[3], U = args.in[1].shape[3], F = args.in[3].shape[3];
  const int64_t of_skip = pitch_in(args, 0), of_up = pitch_in(args, 1), of_flow = pitch_in(args, 3),
                of_y = pitch_out(args, 0);
  const Inputs<T> in{args.in[0].as<const T>(), args.in[1].as<const T>(), args.in[3].as<const T>(),
                     args.in[2].as<const float>(), args.in[4].as<const float>()};
  T* y = args.out[0].as<T>();
  const auto negative_slope = static_cast<float>(args.attrs<DecoderJoin>().negative_slope);
  const int lanes =
      widest_lanes<T>({S, U, F, of_skip, of_up, of_flow, of_y, element_of(in.skip), element_of(in.up),
                       element_of(in.b), element_of(in.flow), element_of(in.b_flow), element_of(y)});
  with_lanes_of<T, kRung>(lanes, [&](auto lane_count) {
    constexpr int kLanes = decltype(lane_count)::value;
    const int64_t count = args.out[0].count() / args.out[0].shape[3] * of_y / kLanes;
    launch(join<T, kLanes, Index>, {.grid = blocks_for(count, kBlock), .block = kBlock}, args.stream, in,
           channels<Index>(S, U, F), channels<Index>(of_skip, of_up, of_flow), static_cast<Index>(count),
           BiasFormula<float>{negative_slope}, y, static_cast<Index>(of_y));
  });
}

template <class T, Rung kRung> void decoder_join_dx(const KernelArgs& args) {
  using Index = IndexOf<kRung>;
  const DecoderJoinDxAttrs& a = args.attrs<DecoderJoinDx>();
  const T* dy = args.in[0].as<const T>();
  const T* y = args.in[1].as<const T>();
  const Gradients<T> out{args.out[0].as<T>(), args.out[1].as<T>(), args.out[2].as<T>()};
  const int64_t F = args.out[2].shape[3], of_dy = pitch_in(args, 0), of_y = pitch_in(args, 1);
  const int64_t of_skip = pitch_out(args, 0), of_up = pitch_out(args, 1), of_flow = pitch_out(args, 2);
  const int lanes =
      widest_lanes<T>({a.skip, a.up, F, of_dy, of_y, of_skip, of_up, of_flow, element_of(dy), element_of(y),
                       element_of(out.skip), element_of(out.up), element_of(out.flow)});
  with_lanes_of<T, kRung>(lanes, [&](auto lane_count) {
    constexpr int kLanes = decltype(lane_count)::value;
    const int64_t pixels = args.in[0].count() / args.in[0].shape[3];
    const int64_t count = pixels * (of_skip + of_up + of_flow) / kLanes;
    launch(split<T, kLanes, Index>, {.grid = blocks_for(count, kBlock), .block = kBlock}, args.stream, dy,
           static_cast<Index>(of_dy), y, static_cast<Index>(of_y), channels<Index>(a.skip, a.up, F),
           channels<Index>(of_skip, of_up, of_flow), static_cast<Index>(count),
           LeakyReluDxFormula<float>{static_cast<float>(a.negative_slope)}, out);
  });
}

std::optional<Prepared> prepare(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  return with_pitches(in, out);
}

// Channels of each part that are a multiple of two, and indices of 32 bits, of the parts with their zeros
// too.
bool fits_vectors(std::initializer_list<Shape> parts) {
  int64_t count = 0;
  for (const Shape& s : parts) {
    if (s[3] % 2 != 0) return false;
    count += s.count() / s[3] * (s[3] + kVectorBytes);
  }
  return counts_in_32_bits(count);
}
std::optional<Prepared> prepare_join(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  if (!fits_vectors({in[0].shape, in[1].shape, in[3].shape})) return {};
  return with_pitches(in, out);
}
std::optional<Prepared> prepare_split(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  if (!fits_vectors({out[0].shape, out[1].shape, out[2].shape})) return {};
  return with_pitches(in, out);
}

template <class T> void add(Registry& r) {
  constexpr Dtype kDtype = dtype_of<T>();
  add_cuda_kernel(r, {.op = DecoderJoin::kName,
                      .dtype = kDtype,
                      .run = decoder_join<T, Rung::plain>,
                      .prepare = prepare,
                      .follow = prepare});
  add_cuda_kernel(r, {.op = DecoderJoinDx::kName,
                      .dtype = kDtype,
                      .run = decoder_join_dx<T, Rung::plain>,
                      .prepare = prepare,
                      .follow = prepare});
  add_cuda_kernel(r, {.op = DecoderJoin::kName,
                      .version = "vector",
                      .dtype = kDtype,
                      .run = decoder_join<T, Rung::vector>,
                      .prepare = prepare_join,
                      .preference = 1,
                      .follow = prepare_join});
  add_cuda_kernel(r, {.op = DecoderJoinDx::kName,
                      .version = "vector",
                      .dtype = kDtype,
                      .run = decoder_join_dx<T, Rung::vector>,
                      .prepare = prepare_split,
                      .preference = 1,
                      .follow = prepare_split});
}

}  // namespace

void register_decoder_join(Registry& r) {
  add<float>(r);
  add<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
