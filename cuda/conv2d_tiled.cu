// The convolution family as products of matrices that are never built (implicit GEMM), from tiles in shared
// memory. In float, tensor cores are not used.
//
// The rung below fetches two numbers for each multiply-add, from the caches at best. Here a block of 256
// threads computes 64 x 64 results: for each 16 terms of the sums it puts 64 x 16 numbers of either operand
// into shared memory, where each serves 64 results. A thread has 4 x 4 of these in registers, so that per
// term two accesses of 16 bytes feed 16 multiply-adds. The numbers of the next 16 terms are on their way from
// memory into registers while the present ones are multiplied.
//
//   product    rows m of a        columns n of b      terms k
//   conv2d     pixels of y        o                   taps (p,q), then c
//   conv2d_dx  pixels of dx       c                   taps (p,q), then o
//   conv2d_dw  o                  a tap, then c       pixels of y
//
// Bytes per result from memory or L2: sizeof(T) K / 64 from either operand for K terms, and its own. Every
// sum has one order: terms in the order of k; of dw in runs, whose sums a second launch adds.
#include "cuda/channels.cuh"
#include "cuda/conv2d_dx.cuh"
#include "cuda/gemm_tiles.cuh"

namespace MILLRACE_CUDA_NS {
namespace {

using namespace gemm;

// Sizes as in the equations, of one image H W and one result OH OW.
struct Sizes {
  int N, H, W, I, O, P, Q, OH, OW, stride, pad;
};

// Goes through taps p, p + stride, ... and q, q + stride, ..., and for each through `width` channels, kDepth
// at a time.
struct Walk {
  int first_q, Q, stride, width;
  int p, q, channel = 0;

  __device__ void advance() {
    channel += kDepth;
    if (channel < width) return;
    channel = 0;
    q += stride;
    if (q < Q) return;
    q = first_q;
    p += stride;
  }
};

struct Pixel {
  int n, i, j;

  __device__ Pixel(int number, int H, int W) : n(number / W / H), i(number / W % H), j(number % W) {}
};

template <class T, class Y, bool kVector> __global__ void __launch_bounds__(kBlock)
    conv2d_tiles(Sizes s, const T* x, const T* w, const float* b, Y* y, LeakyReluFormula<float> leaky) {
  __shared__ Tiles tiles;
  const int pixels = s.N * s.OH * s.OW;
  const int first_m = static_cast<int>(blockIdx.x) * kTile, first_n = static_cast<int>(blockIdx.y) * kTile;
  const int m = first_m + across_line(), o = first_n + across_line();
  const Pixel at(m, s.OH, s.OW);
  Walk walk{.first_q = 0, .Q = s.Q, .stride = 1, .width = s.I, .p = 0, .q = 0};
  const auto fetch = [&] {
    const int i = at.i * s.stride - s.pad + walk.p, j = at.j * s.stride - s.pad + walk.q;
    const int c = walk.channel + across_term();
    const bool inside = m < pixels && i >= 0 && i < s.H && j >= 0 && j < s.W;
    const Operands operands{
        load4<kVector>(x + ((int64_t{at.n} * s.H + i) * s.W + j) * s.I + c, inside ? s.I - c : 0),
        load4<kVector>(w + ((int64_t{o} * s.P + walk.p) * s.Q + walk.q) * s.I + c, o < s.O ? s.I - c : 0)};
    walk.advance();
    return operands;
  };
  const auto put = [](Tiles& to, const Operands& operands) {
    put_across(to.a, operands.a);
    put_across(to.b, operands.b);
  };
  Results results;
  multiply(tiles, s.P * s.Q * ((s.I + kDepth - 1) / kDepth), fetch, put, results);

  const int column = first_n + Results::column();
  const Four bias = b ? load4<kVector>(b + column, s.O - column) : Four{};
#pragma unroll
  for (int r = 0; r < kSide; ++r) {
    const int row = first_m + Results::row() + r;
    Four value = results.sum[r];
#pragma unroll
    for (int i = 0; i < kSide; ++i) value[i] = leaky(value[i] + bias[i]);
    if (row < pixels) store4<kVector>(y + int64_t{row} * s.O + column, s.O - column, value);
  }
}

// DxEpilogue on elements [element, element + 4) of dx, of which `left` and more are another row's.
template <bool kVector, class T>
__device__ void finish(const DxEpilogue<T>& epilogue, int64_t element, int left, Four& value) {
  if (epilogue.addend) {
    const Four addend = load4<kVector>(epilogue.addend + element, left);
#pragma unroll
    for (int i = 0; i < kSide; ++i) value[i] = addend[i] + value[i];
  }
  if (epilogue.y) {
    const Four y = load4<kVector>(epilogue.y + element, left);
#pragma unroll
    for (int i = 0; i < kSide; ++i) value[i] = epilogue.leaky_dx(value[i], y[i]);
  }
}

// With a stride s the pixels of dx are s^2 classes, by i % s and j % s, and each meets every s-th tap each
// way only: blockIdx.z is the class, and its products have no terms that are zero by construction.
template <class T, bool kVector> __global__ void __launch_bounds__(kBlock)
    conv2d_dx_tiles(Sizes s, const T* dy, const T* w, T* dx, DxEpilogue<T> epilogue) {
  __shared__ Tiles tiles;
  const int class_i = static_cast<int>(blockIdx.z) / s.stride,
            class_j = static_cast<int>(blockIdx.z) % s.stride;
  const int H = (s.H - class_i + s.stride - 1) / s.stride, W = (s.W - class_j + s.stride - 1) / s.stride;
  const int pixels = s.N * H * W;
  const int first_m = static_cast<int>(blockIdx.x) * kTile, first_n = static_cast<int>(blockIdx.y) * kTile;
  if (first_m >= pixels) return;  // the whole block: classes differ in size
  const int m = first_m + across_line(), c = first_n + along_line();
  const Pixel at(m, H, W);
  const int p0 = (class_i + s.pad) % s.stride, q0 = (class_j + s.pad) % s.stride;
  const int taps_i = (s.P - p0 + s.stride - 1) / s.stride, taps_j = (s.Q - q0 + s.stride - 1) / s.stride;
  Walk walk{.first_q = q0, .Q = s.Q, .stride = s.stride, .width = s.O, .p = p0, .q = q0};
  const auto fetch = [&] {
    // Multiples of the stride, by the choice of taps.
    const int si = at.i * s.stride + class_i + s.pad - walk.p;
    const int sj = at.j * s.stride + class_j + s.pad - walk.q;
    const int i = si / s.stride, j = sj / s.stride;
    const int o_across = walk.channel + across_term(), o_along = walk.channel + along_term();
    const bool inside = m < pixels && si >= 0 && i < s.OH && sj >= 0 && j < s.OW;
    const Operands operands{load4<kVector>(dy + ((int64_t{at.n} * s.OH + i) * s.OW + j) * s.O + o_across,
                                           inside ? s.O - o_across : 0),
                            load4<kVector>(w + ((int64_t{o_along} * s.P + walk.p) * s.Q + walk.q) * s.I + c,
                                           o_along < s.O ? s.I - c : 0)};
    walk.advance();
    return operands;
  };
  const auto put = [](Tiles& to, const Operands& operands) {
    put_across(to.a, operands.a);
    put_along(to.b, operands.b);
  };
  Results results;
  multiply(tiles, max(taps_i, 0) * max(taps_j, 0) * ((s.O + kDepth - 1) / kDepth), fetch, put, results);

  const int column = first_n + Results::column();
#pragma unroll
  for (int r = 0; r < kSide; ++r) {
    const int row = first_m + Results::row() + r;
    if (row >= pixels) continue;
    const Pixel to(row, H, W);
    const int i = to.i * s.stride + class_i, j = to.j * s.stride + class_j;
    const int64_t element = ((int64_t{to.n} * s.H + i) * s.W + j) * s.I + column;
    finish<kVector>(epilogue, element, s.I - column, results.sum[r]);
    store4<kVector>(dx + element, s.I - column, results.sum[r]);
  }
}

// blockIdx.y is a tap and a tile of input channels, blockIdx.z a run of pixels, whose sums go to a dw of
// their own: few weights and many pixels still give blocks for a whole GPU.
template <class T, bool kVector> __global__ void __launch_bounds__(kBlock)
    conv2d_dw_tiles(Sizes s, const T* x, const T* dy, float* partial, int pixels_of_run) {
  __shared__ Tiles tiles;
  const int tiles_of_tap = (s.I + kTile - 1) / kTile;
  const int tap = static_cast<int>(blockIdx.y) / tiles_of_tap, p = tap / s.Q, q = tap % s.Q;
  const int first_m = static_cast<int>(blockIdx.x) * kTile;
  const int first_n = static_cast<int>(blockIdx.y) % tiles_of_tap * kTile;
  const int first = static_cast<int>(blockIdx.z) * pixels_of_run;
  const int end = min(first + pixels_of_run, s.N * s.OH * s.OW);
  const int o = first_m + along_line(), c = first_n + along_line();
  int pixel = first + along_term();
  const auto fetch = [&] {
    const Pixel at(pixel, s.OH, s.OW);
    const int i = at.i * s.stride - s.pad + p, j = at.j * s.stride - s.pad + q;
    const bool inside = pixel < end && i >= 0 && i < s.H && j >= 0 && j < s.W;
    const Operands operands{
        load4<kVector>(dy + int64_t{pixel} * s.O + o, inside ? s.O - o : 0),
        load4<kVector>(x + ((int64_t{at.n} * s.H + i) * s.W + j) * s.I + c, inside ? s.I - c : 0)};
    pixel += kDepth;
    return operands;
  };
  const auto put = [](Tiles& to, const Operands& operands) {
    put_along(to.a, operands.a);
    put_along(to.b, operands.b);
  };
  Results results;
  multiply(tiles, (end - first + kDepth - 1) / kDepth, fetch, put, results);

  const int64_t weights = int64_t{s.O} * s.P * s.Q * s.I;
  const int column = first_n + Results::column();
#pragma unroll
  for (int r = 0; r < kSide; ++r) {
    const int row = first_m + Results::row() + r;
    if (row < s.O)
      store4<kVector>(partial + blockIdx.z * weights + ((int64_t{row} * s.P + p) * s.Q + q) * s.I + column,
                      s.I - column, results.sum[r]);
  }
}

// dw = the sum of the runs, in their order. One thread per weight. Bytes per weight: 4 per run read, 4
// written.
__global__ void __launch_bounds__(kBlock)
    sum_runs(const float* partial, int runs, int64_t weights, float* dw) {
  const int64_t k = global_thread();
  if (k >= weights) return;
  float sum = 0;
  for (int run = 0; run < runs; ++run) sum += partial[run * weights + k];
  dw[k] = sum;
}

Sizes sizes_of(const Shape& x, const Shape& w, const Shape& y, int64_t stride, int64_t pad) {
  const auto narrow = [](int64_t extent) { return static_cast<int>(extent); };
  return {narrow(x[0]), narrow(x[1]), narrow(x[2]), narrow(x[3]),   narrow(w[0]), narrow(w[1]),
          narrow(w[2]), narrow(y[1]), narrow(y[2]), narrow(stride), narrow(pad)};
}

// How dw is cut: into enough blocks for a GPU, of no less than kShortRun pixels, and sums of no more than
// kLongRun terms, which keeps rounding small.
struct Runs {
  static constexpr int64_t kBlocks = 512, kShortRun = 256, kLongRun = 4096;
  int64_t pixels, count;  // of a run, and of all

  Runs(const Shape& dy, const Shape& dw) {
    const int64_t all = dy[0] * dy[1] * dy[2];
    const auto parts = [](int64_t n, int64_t size) { return (n + size - 1) / size; };
    const int64_t blocks = parts(dw[0], kTile) * dw[1] * dw[2] * parts(dw[3], kTile);
    const int64_t wanted =
        std::max(parts(all, kLongRun), std::min(parts(kBlocks, blocks), parts(all, kShortRun)));
    pixels = parts(parts(all, wanted), kDepth) * kDepth;
    count = parts(all, pixels);
  }
};

// Calls body(std::bool_constant) with whether widths and addresses are multiples of four numbers.
template <class T, class F> void with_vectors(std::initializer_list<int64_t> numbers, F body) {
  if (widest_lanes<T>(numbers) >= kSide)
    body(std::true_type{});
  else
    body(std::false_type{});
}

template <class T, class Y> void launch_conv2d(const KernelArgs& args) {
  const Conv2dAttrs& a = args.attrs<Conv2d>();
  const Sizes s = sizes_of(args.in[0].shape, args.in[1].shape, args.out[0].shape, a.stride, a.pad);
  const T *x = args.in[0].as<const T>(), *w = args.in[1].as<const T>();
  const float* b = args.in.size() == 3 ? args.in[2].as<const float>() : nullptr;
  Y* y = args.out[0].as<Y>();
  const dim3 grid(blocks_for(int64_t{s.N} * s.OH * s.OW, kTile), blocks_for(s.O, kTile));
  with_vectors<T>({s.I, s.O, element_of(x), element_of(w), element_of(b), element_of(y)}, [&](auto vector) {
    launch(conv2d_tiles<T, Y, decltype(vector)::value>, {.grid = grid, .block = kBlock}, args.stream, s, x, w,
           b, y, LeakyReluFormula<float>{static_cast<float>(a.negative_slope)});
  });
}

template <class T> void conv2d(const KernelArgs& args) {
  if (args.out[0].dtype == Dtype::f32)
    launch_conv2d<T, float>(args);
  else
    launch_conv2d<T, T>(args);
}

template <class T> void conv2d_dx(const KernelArgs& args) {
  const Conv2dDxAttrs& a = args.attrs<Conv2dDx>();
  const Sizes s = sizes_of(args.out[0].shape, args.in[1].shape, args.in[0].shape, a.stride, a.pad);
  const T *dy = args.in[0].as<const T>(), *w = args.in[1].as<const T>();
  T* dx = args.out[0].as<T>();
  const auto of_class = [&](int extent) { return (extent + s.stride - 1) / s.stride; };
  const dim3 grid(blocks_for(int64_t{s.N} * of_class(s.H) * of_class(s.W), kTile), blocks_for(s.I, kTile),
                  static_cast<unsigned>(s.stride * s.stride));
  const DxEpilogue<T> epilogue(args);
  with_vectors<T>({s.I, s.O, element_of(dy), element_of(w), element_of(dx), element_of(epilogue.addend),
                   element_of(epilogue.y)},
                  [&](auto vector) {
                    launch(conv2d_dx_tiles<T, decltype(vector)::value>, {.grid = grid, .block = kBlock},
                           args.stream, s, dy, w, dx, epilogue);
                  });
  sum_dx(args);
}

template <class T> void conv2d_dw(const KernelArgs& args) {
  const Conv2dDwAttrs& a = args.attrs<Conv2dDw>();
  const Shape& dw_shape = args.out[0].shape;
  const Sizes s = sizes_of(args.in[0].shape, dw_shape, args.in[1].shape, a.stride, a.pad);
  const Runs runs(args.in[1].shape, dw_shape);
  const T *x = args.in[0].as<const T>(), *dy = args.in[1].as<const T>();
  auto* dw = args.out[0].as<float>();
  float* sums = runs.count == 1 ? dw : static_cast<float*>(args.workspace);
  const dim3 grid(blocks_for(s.O, kTile), static_cast<unsigned>(s.P * s.Q) * blocks_for(s.I, kTile),
                  static_cast<unsigned>(runs.count));
  with_vectors<T>({s.I, s.O, element_of(x), element_of(dy), element_of(sums)}, [&](auto vector) {
    launch(conv2d_dw_tiles<T, decltype(vector)::value>, {.grid = grid, .block = kBlock}, args.stream, s, x,
           dy, sums, static_cast<int>(runs.pixels));
  });
  if (runs.count == 1) return;
  launch(sum_runs, {.grid = blocks_for(dw_shape.count(), kBlock), .block = kBlock}, args.stream, sums,
         static_cast<int>(runs.count), dw_shape.count(), dw);
}

// Pixels, grids and channels are counted in 32 bits.
std::optional<Prepared> prepare(const Shape& x, const Shape& y) {
  const bool small = counts_in_32_bits(x[0] * x[1] * x[2] + kTile) &&
                     counts_in_32_bits(y[0] * y[1] * y[2] + kTile) && x[3] < 65535 * kTile &&
                     y[3] < 65535 * kTile;
  if (!small) return {};
  return Prepared{};
}
std::optional<Prepared> prepare_conv2d(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  return prepare(in[0].shape, out[0].shape);
}
std::optional<Prepared> prepare_dx(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  if (static_cast<const Conv2dDx&>(op).attrs.stride > 255) return {};  // its square is an extent of the grid
  if (!prepare(out[0].shape, in[0].shape)) return {};
  return prepare_dx_sum(op, out);
}
std::optional<Prepared> prepare_dw(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  auto prepared = prepare(in[0].shape, in[1].shape);
  const Shape& dw = out[0].shape;
  const Runs runs(in[1].shape, dw);
  if (!prepared || runs.count > 65535 || dw[1] * dw[2] * (dw[3] / kTile + 1) > 65535) return {};
  if (runs.count > 1)
    prepared->workspace_bytes = runs.count * dw.count() * static_cast<int64_t>(sizeof(float));
  return prepared;
}

template <class T> void add(Registry& r) {
  const auto add_tiled = [&](const char* op, KernelFn run, PrepareFn prepare_node) {
    add_cuda_kernel(r, {.op = op,
                        .version = "tiled",
                        .dtype = dtype_of<T>(),
                        .run = run,
                        .prepare = prepare_node,
                        .preference = 1});
  };
  add_tiled(Conv2d::kName, conv2d<T>, prepare_conv2d);
  add_tiled(Conv2dDx::kName, conv2d_dx<T>, prepare_dx);
  add_tiled(Conv2dDw::kName, conv2d_dw<T>, prepare_dw);
}

}  // namespace

void register_conv2d_tiled(Registry& r) {
  add<float>(r);
  add<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
