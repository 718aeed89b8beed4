#include "cuda/op.cuh"
#include "layers/warp.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

using In = View4<const float>;
using Out = View4<float>;

// The cell that holds one sample point: its first tap and the fractions towards the second.
struct Cell {
  int64_t row, column;
  float down, right;

  __device__ Cell(int64_t i, int64_t j, float u, float v) {
    const float x = static_cast<float>(j) + u, y = static_cast<float>(i) + v;
    row = tap(y);
    column = tap(x);
    down = y - floorf(y);
    right = x - floorf(x);
  }

  // Far outside every tap is outside too; the bounds, and fmaxf, which drops a NaN, keep the conversion
  // defined.
  __device__ static int64_t tap(float at) {
    return static_cast<int64_t>(fminf(fmaxf(floorf(at), -1e9f), 1e9f));
  }
};

__device__ Cell cell_of(const In& flow, int64_t n, int64_t i, int64_t j, int64_t k) {
  return {i, j, flow(n, i, j, 2 * k), flow(n, i, j, 2 * k + 1)};
}

__device__ float tap_or_zero(const In& image, int64_t n, int64_t p, int64_t q, int64_t c) {
  return image.inside(p, q) ? image(n, p, q, c) : 0.0f;
}

// One thread per element of y, neighbours along channels, then columns: y is written in whole lines, and
// smooth flow reads the image nearly so. The threads of a pixel's colours share its flow through the L1
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

// One thread per pixel and flow, which sums over its colours: no two threads share a sum.
// Bytes per output (u or v): 4 written; 4 of flow, 2 C of dy and, where flow is smooth, 2 C of image.
__global__ void __launch_bounds__(kBlock) warp_dflow_pixels(In dy, In image, In flow, Out dflow) {
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

// One thread per image, flow and row of dimage. It looks through all pixels of its image, in their order, for
// samples that touch its row: flow is unbounded, so any pixel may. Rows belong to one thread each, so the
// sums need no atomics and have one order. Threads of a warp look at the same pixel: its flow is one read for
// all of them. Bytes per output: 4 written, and per row 8 H W of flow (from the caches) and, of dy, what hits
// it.
__global__ void __launch_bounds__(kBlock) warp_dimage_rows(In dy, In flow, Out dimage) {
  const int64_t task = global_thread();
  const int64_t K = flow.C / 2, C = dy.C / K;
  if (task >= dy.N * K * dy.H) return;
  const int64_t p = task % dy.H, k = task / dy.H % K, n = task / dy.H / K;
  for (int64_t q = 0; q < dy.W; ++q)
    for (int64_t c = k * C; c < k * C + C; ++c) dimage(n, p, q, c) = 0;
  for (int64_t i = 0; i < dy.H; ++i) {
    for (int64_t j = 0; j < dy.W; ++j) {
      const Cell at = cell_of(flow, n, i, j, k);
      if (p != at.row && p != at.row + 1) continue;
      const float row_weight = p == at.row ? 1 - at.down : at.down;
      for (int64_t q = at.column; q <= at.column + 1; ++q) {
        if (!dimage.inside(p, q)) continue;
        const float weight = row_weight * (q == at.column ? 1 - at.right : at.right);
        for (int64_t c = k * C; c < k * C + C; ++c) dimage(n, p, q, c) += weight * dy(n, i, j, c);
      }
    }
  }
}

void warp(const KernelArgs& args) {
  launch(warp_elements, {.grid = blocks_for(args.out[0].count(), kBlock), .block = kBlock}, args.stream,
         args.in[0], args.in[1], args.out[0]);
}

void warp_dflow(const KernelArgs& args) {
  launch(warp_dflow_pixels, {.grid = blocks_for(args.out[0].count() / 2, kBlock), .block = kBlock},
         args.stream, args.in[0], args.in[1], args.in[2], args.out[0]);
}

void warp_dimage(const KernelArgs& args) {
  const In dy(args.in[0]), flow(args.in[1]);
  launch(warp_dimage_rows, {.grid = blocks_for(dy.N * (flow.C / 2) * dy.H, kBlock), .block = kBlock},
         args.stream, dy, flow, args.out[0]);
}

}  // namespace

void register_warp(Registry& r) {
  add_cuda_kernel(r, {.op = Warp::kName, .run = warp});
  add_cuda_kernel(r, {.op = WarpDflow::kName, .run = warp_dflow});
  add_cuda_kernel(r, {.op = WarpDimage::kName, .run = warp_dimage});
}

}  // namespace MILLRACE_CUDA_NS
