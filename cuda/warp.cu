#include "cuda/op.cuh"
#include "cuda/warp.cuh"
#include "layers/warp.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

using In = View4<const float>;
using Out = View4<float>;

__device__ Cell cell_of(const In& flow, int64_t n, int64_t i, int64_t j, int64_t k) {
  return {static_cast<int>(i),      static_cast<int>(j),      flow(n, i, j, 2 * k),
          flow(n, i, j, 2 * k + 1), static_cast<int>(flow.H), static_cast<int>(flow.W)};
}

__device__ float tap_or_zero(const In& image, int64_t n, int64_t p, int64_t q, int64_t c) {
  return image.inside(p, q) ? image(n, p, q, c) : 0.0f;
}

// plain. One thread per element of y, neighbours along channels, then columns: y is written in whole lines,
// and smooth flow reads the image nearly so. The threads of a pixel's colours share its flow through the L1
// cache. Bytes per output: 4 written; 8/C of flow and, where flow is smooth, 4 of image from memory (16 from
// the caches).
__global__ void __launch_bounds__(kBlock) warp_elements(In image, In flow, Out y) {
  const int64_t element = global_thread();
  if (element >= y.N * y.H * y.W * y.C) return;
  const int64_t c = element % y.C, j = element / y.C % y.W, i = element / y.C / y.W % y.H;
  const int64_t n = element / y.C / y.W / y.H;
  const int64_t C = y.C / (flow.C / 2);
  const Cell at = cell_of(flow, n, i, j, c / C);
  const float a = tap_or_zero(image, n, at.row, at.column, c);
  const float b = tap_or_zero(image, n, at.row, at.column + 1, c);
  const float d = tap_or_zero(image, n, at.row + 1, at.column, c);
  const float e = tap_or_zero(image, n, at.row + 1, at.column + 1, c);
  const float top = (1 - at.right) * a + at.right * b;
  const float bottom = (1 - at.right) * d + at.right * e;
  y.data[element] = (1 - at.down) * top + at.down * bottom;
}

template <int C> __device__ __forceinline__ Floats<C> warp_sample(const float* __restrict__ image,
                                                                  const float* __restrict__ flow, int s,
                                                                  const WarpExtents& extents) {
  const Reach at(load_vec<2>(flow + 2 * s), s, extents);
  const Taps<C> t(image, at, extents.K);
  Floats<C> y;
#pragma unroll
  for (int c = 0; c < C; ++c) {
    const float top = (1 - at.cell.right) * t.a[c] + at.cell.right * t.b[c];
    const float bottom = (1 - at.cell.right) * t.d[c] + at.cell.right * t.e[c];
    y[c] = (1 - at.cell.down) * top + at.cell.down * bottom;
  }
  return y;
}

// pixels. One thread per pixel and flow, with all its colours: place, cell and the tests of its taps are
// found once where `plain` finds them C times, in 32 bits where that divides 64-bit numbers; the flow is one
// 8-byte load, and the 4 C loads of taps are all under way before the first is needed. Two or four colours
// are one vector a tap. Bytes per output as in `plain`.
template <int C> __global__ void __launch_bounds__(kBlock)
    warp_pixels(const float* __restrict__ image, const float* __restrict__ flow, float* __restrict__ y,
                WarpExtents extents) {
  const int s = static_cast<int>(global_thread());
  if (s >= extents.samples) return;
  store_colours(y + s * C, warp_sample<C>(image, flow, s, extents));
}

constexpr int kStaged = 3;               // colours of the staged versions
constexpr int kTile = kBlock * kStaged;  // their elements of a block, 16-byte aligned in y
constexpr int kTileVectors = kTile / 4;

// staged. As `pixels`, for three colours, whose three stores there each touch every third number of twelve
// sectors of 32 bytes: 36 partial writes of a sector where 12 whole ones do. Here a block collects its 768
// numbers, which lie side by side in y, in shared memory (a stride of 3 meets every bank once) and stores
// them 16 bytes a thread. Bytes per output as in `plain`.
__global__ void __launch_bounds__(kBlock)
    warp_staged(const float* __restrict__ image, const float* __restrict__ flow, float* __restrict__ y,
                WarpExtents extents) {
  __shared__ __align__(16) float tile[kTile];
  const int thread = static_cast<int>(threadIdx.x);
  const int begin = static_cast<int>(blockIdx.x) * kBlock;
  const int s = begin + thread;
  if (s < extents.samples)
    store_colours(tile + thread * kStaged, warp_sample<kStaged>(image, flow, s, extents));
  __syncthreads();
  const int count = min(kBlock, extents.samples - begin) * kStaged;
  float* out = y + begin * kStaged;
  if (thread < count / 4) store_vec(out + 4 * thread, load_vec<4>(tile + 4 * thread));
  if (thread < count % 4) out[count / 4 * 4 + thread] = tile[count / 4 * 4 + thread];
}
static_assert(kTileVectors <= kBlock, "one vector a thread");

// plain. One thread per pixel and flow, which sums over its colours: no two threads share a sum.
// Bytes per output (u or v): 4 written; 4 of flow, 2 C of dy and, where flow is smooth, 2 C of image.
__global__ void __launch_bounds__(kBlock) warp_dflow_sums(In dy, In image, In flow, Out dflow) {
  const int64_t pixel = global_thread();
  const int64_t K = flow.C / 2, C = image.C / K;
  if (pixel >= dy.N * dy.H * dy.W * K) return;
  const int64_t k = pixel % K, j = pixel / K % dy.W, i = pixel / K / dy.W % dy.H;
  const int64_t n = pixel / K / dy.W / dy.H;
  const Cell at = cell_of(flow, n, i, j, k);
  float du = 0, dv = 0;
  for (int64_t c = k * C; c < k * C + C; ++c) {
    const float a = tap_or_zero(image, n, at.row, at.column, c);
    const float b = tap_or_zero(image, n, at.row, at.column + 1, c);
    const float d = tap_or_zero(image, n, at.row + 1, at.column, c);
    const float e = tap_or_zero(image, n, at.row + 1, at.column + 1, c);
    du += dy(n, i, j, c) * ((1 - at.down) * (b - a) + at.down * (e - d));
    dv += dy(n, i, j, c) * ((1 - at.right) * (d - a) + at.right * (e - b));
  }
  dflow(n, i, j, 2 * k) = du;
  dflow(n, i, j, 2 * k + 1) = dv;
}

template <int C>
__device__ __forceinline__ void store_dflow(const Floats<C>& dy, const float* __restrict__ image,
                                            const float* __restrict__ flow, float* __restrict__ dflow, int s,
                                            const WarpExtents& extents) {
  const Reach at(load_vec<2>(flow + 2 * s), s, extents);
  const Taps<C> t(image, at, extents.K);
  Float2 d{{0, 0}};
#pragma unroll
  for (int c = 0; c < C; ++c) {
    const float upper = t.b[c] - t.a[c], lower = t.e[c] - t.d[c];
    const float left = t.d[c] - t.a[c], right = t.e[c] - t.b[c];
    d[0] += dy[c] * ((1 - at.cell.down) * upper + at.cell.down * lower);
    d[1] += dy[c] * ((1 - at.cell.right) * left + at.cell.right * right);
  }
  store_vec(dflow + 2 * s, d);
}

// pixels. As `plain`, with the number of colours known: the loop is unrolled, so that all taps are under way
// at once, and flow and gradient are one 8-byte access each; places are found in 32 bits.
// Bytes per output as in `plain`.
template <int C> __global__ void __launch_bounds__(kBlock)
    warp_dflow_pixels(const float* __restrict__ dy, const float* __restrict__ image,
                      const float* __restrict__ flow, float* __restrict__ dflow, WarpExtents extents) {
  const int s = static_cast<int>(global_thread());
  if (s >= extents.samples) return;
  store_dflow<C>(load_colours<C>(dy + s * C), image, flow, dflow, s, extents);
}

// staged. As `pixels`, for three colours: a block reads its 768 numbers of dy 16 bytes a thread and hands
// them out through shared memory, in place of three loads a thread that each fetch the same twelve sectors.
// Bytes per output as in `plain`.
__global__ void __launch_bounds__(kBlock)
    warp_dflow_staged(const float* __restrict__ dy, const float* __restrict__ image,
                      const float* __restrict__ flow, float* __restrict__ dflow, WarpExtents extents) {
  __shared__ __align__(16) float tile[kTile];
  const int thread = static_cast<int>(threadIdx.x);
  const int begin = static_cast<int>(blockIdx.x) * kBlock;
  const int count = min(kBlock, extents.samples - begin) * kStaged;
  const float* in = dy + begin * kStaged;
  if (thread < count / 4) store_vec(tile + 4 * thread, load_vec<4>(in + 4 * thread));
  if (thread < count % 4) tile[count / 4 * 4 + thread] = in[count / 4 * 4 + thread];
  __syncthreads();
  const int s = begin + thread;
  if (s < extents.samples)
    store_dflow(load_colours<kStaged>(tile + thread * kStaged), image, flow, dflow, s, extents);
}

void warp(const KernelArgs& args) {
  launch(warp_elements, {.grid = blocks_for(args.out[0].count(), kBlock), .block = kBlock}, args.stream,
         args.in[0], args.in[1], args.out[0]);
}

void warp_dflow(const KernelArgs& args) {
  launch(warp_dflow_sums, {.grid = blocks_for(args.out[0].count() / 2, kBlock), .block = kBlock}, args.stream,
         args.in[0], args.in[1], args.in[2], args.out[0]);
}

// A thread per sample.
LaunchShape samples_shape(const WarpExtents& extents) {
  return {.grid = blocks_for(extents.samples, kBlock), .block = kBlock};
}

struct WarpOperands {
  const float *image, *flow;
  float* y;
  WarpExtents extents;

  explicit WarpOperands(const KernelArgs& args)
      : image(args.in[0].as<float>()),
        flow(args.in[1].as<float>()),
        y(args.out[0].as<float>()),
        extents(args.in[0].shape, args.in[1].shape) {}
};

void warp_by_pixels(const KernelArgs& args) {
  const WarpOperands o(args);
  by_colours(args.in[0], args.in[1], [&]<int C>() {
    launch(warp_pixels<C>, samples_shape(o.extents), args.stream, o.image, o.flow, o.y, o.extents);
  });
}

void warp_by_tiles(const KernelArgs& args) {
  const WarpOperands o(args);
  launch(warp_staged, samples_shape(o.extents), args.stream, o.image, o.flow, o.y, o.extents);
}

struct DflowOperands {
  const float *dy, *image, *flow;
  float* dflow;
  WarpExtents extents;

  explicit DflowOperands(const KernelArgs& args)
      : dy(args.in[0].as<float>()),
        image(args.in[1].as<float>()),
        flow(args.in[2].as<float>()),
        dflow(args.out[0].as<float>()),
        extents(args.in[1].shape, args.in[2].shape) {}
};

void warp_dflow_by_pixels(const KernelArgs& args) {
  const DflowOperands o(args);
  by_colours(args.in[1], args.in[2], [&]<int C>() {
    launch(warp_dflow_pixels<C>, samples_shape(o.extents), args.stream, o.dy, o.image, o.flow, o.dflow,
           o.extents);
  });
}

void warp_dflow_by_tiles(const KernelArgs& args) {
  const DflowOperands o(args);
  launch(warp_dflow_staged, samples_shape(o.extents), args.stream, o.dy, o.image, o.flow, o.dflow, o.extents);
}

// Both ops have the flow as their last input, the image before it.
std::optional<Prepared> prepare_pixels(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  if (!fits_fast_warp(in[in.size() - 2].shape, in.back().shape)) return {};
  return Prepared{};
}

std::optional<Prepared> prepare_staged(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  if (colours_of(in[in.size() - 2].shape, in.back().shape) != kStaged) return {};
  return prepare_pixels(op, in, out);
}

}  // namespace

void register_warp(Registry& r) {
  const char* const forward = Warp::kName;
  add_cuda_kernel(r, {.op = forward, .run = warp});
  add_cuda_kernel(r, {.op = forward,
                      .version = "pixels",
                      .run = warp_by_pixels,
                      .prepare = prepare_pixels,
                      .preference = 1});
  add_cuda_kernel(
      r,
      {.op = forward, .version = "staged", .run = warp_by_tiles, .prepare = prepare_staged, .preference = 2});

  const char* const dflow = WarpDflow::kName;
  add_cuda_kernel(r, {.op = dflow, .run = warp_dflow});
  add_cuda_kernel(r, {.op = dflow,
                      .version = "pixels",
                      .run = warp_dflow_by_pixels,
                      .prepare = prepare_pixels,
                      .preference = 1});
  add_cuda_kernel(r, {.op = dflow,
                      .version = "staged",
                      .run = warp_dflow_by_tiles,
                      .prepare = prepare_staged,
                      .preference = 2});
}

}  // namespace MILLRACE_CUDA_NS
