#include "cuda/op.cuh"
#include "cuda/power.cuh"
#include "cuda/reduce.cuh"
#include "cuda/vec.cuh"
#include "losses/smoothness.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

using In = View4<const float>;

__device__ bool valid_pixel(const In& flow, const Border& border, int64_t i, int64_t j) {
  return i >= border.y && i < flow.H - border.y && j >= border.x && j < flow.W - border.x;
}

// --- plain

// One thread per element, with its differences to the right and downwards; where there is no neighbour the
// element is its own, which makes the difference 0. Elements of u and v take turns, so a block has two sums.
// Bytes per element: 4 read from memory (12 from the caches).
__global__ void __launch_bounds__(kBlock)
    smoothness_elements(In flow, Border border, Penalty rho, float* partials) {
  __shared__ float shared[2 * kBlock / kLanes];
  const int64_t element = global_thread();
  float sums[2] = {0, 0};
  if (element < flow.N * flow.H * flow.W * flow.C) {
    const int64_t j = element / flow.C % flow.W, i = element / flow.C / flow.W % flow.H;
    if (valid_pixel(flow, border, i, j)) {
      const float* f = flow.data + element;
      const float right = j + 1 < flow.W ? f[flow.C] : *f;
      const float below = i + 1 < flow.H ? f[flow.W * flow.C] : *f;
      const float term = rho(*f - right) + rho(*f - below);
      sums[0] = element % 2 == 0 ? term : 0;
      sums[1] = element % 2 == 0 ? 0 : term;
    }
  }
  block_sums<kBlock>(sums, shared);
  if (threadIdx.x == 0) {
    partials[blockIdx.x] = sums[0];
    partials[gridDim.x + blockIdx.x] = sums[1];
  }
}

// One thread per element, which gathers from the up to four differences it is part of: each power is computed
// twice, by both its elements. rho is even, so its slope as the second operand of a difference is that of the
// difference the other way round. Bytes per output: 4 written, 4 read from memory (20 from the caches).
__global__ void __launch_bounds__(kBlock)
    smoothness_dflow_elements(In flow, const float* dloss_u, const float* dloss_v, Border border,
                              Penalty power, float scale, float* dflow) {
  const int64_t element = global_thread();
  if (element >= flow.N * flow.H * flow.W * flow.C) return;
  const int64_t j = element / flow.C % flow.W, i = element / flow.C / flow.W % flow.H;
  const int64_t row = flow.W * flow.C;
  const float* f = flow.data + element;
  const auto slope = [&](int64_t other) {
    const float delta = *f - f[other];
    return delta * power(delta);
  };
  float sum = 0;
  if (valid_pixel(flow, border, i, j)) {
    if (j + 1 < flow.W) sum += slope(flow.C);
    if (i + 1 < flow.H) sum += slope(row);
  }
  if (j > 0 && valid_pixel(flow, border, i, j - 1)) sum += slope(-flow.C);
  if (i > 0 && valid_pixel(flow, border, i - 1, j)) sum += slope(-row);
  dflow[element] = sum * scale * (element % 2 == 0 ? *dloss_u : *dloss_v);
}

// --- strips
//
// A thread takes four neighbours of a row, u v u v, in one access of 16 bytes (C is a multiple of 4, so they
// are of one pixel), and goes down kStrip rows with them: the row below, once loaded, is the next row. A
// block takes neighbouring vectors of a row. A loop over rows needs no division.

constexpr int kStripBlock = 128;
constexpr int kStrip = 8;  // rows

struct Strips {
  int H, W, C, border_y, border_x;

  Strips(const Shape& flow, const CharbonnierAttrs& a)
      : H(static_cast<int>(flow[1])),
        W(static_cast<int>(flow[2])),
        C(static_cast<int>(flow[3])),
        border_y(static_cast<int>(a.border_y)),
        border_x(static_cast<int>(a.border_x)) {}

  MILLRACE_HD int pixel() const { return C / 4; }  // vectors of a pixel
  MILLRACE_HD int row() const { return W * pixel(); }
  __device__ int64_t element(int n, int i, int vector) const {
    return (static_cast<int64_t>(n * H + i) * row() + vector) * 4;
  }
  __device__ bool valid_row(int i) const { return i >= border_y && i < H - border_y; }
  __device__ bool valid_vector(int v) const {
    return v >= border_x * pixel() && v < (W - border_x) * pixel();
  }
};

// grid: x the vectors of a row between the borders, y the strips of rows between the borders, z the images.
// Faster than the plain version because an element is loaded as its own and as the neighbour below in one
// (and a second time by the strip above, if it is in its first row), and as the right neighbour once more,
// from the L1 cache; each by a quarter of the instructions, and without divisions. Each power is computed
// once, as there. Bytes per element: 4.5 read between the borders, 0 in them.
__global__ void __launch_bounds__(kStripBlock)
    smoothness_strips(const float* flow, Strips s, Penalty rho, float* partials) {
  __shared__ float shared[2 * kStripBlock / kLanes];
  const int vector = s.border_x * s.pixel() + static_cast<int>(blockIdx.x * kStripBlock + threadIdx.x);
  const int first = s.border_y + static_cast<int>(blockIdx.y) * kStrip;
  const int end = min(first + kStrip, s.H - s.border_y);
  float sums[2] = {0, 0};
  if (s.valid_vector(vector)) {
    const bool has_right = vector + s.pixel() < s.row();
    const float* f = flow + s.element(static_cast<int>(blockIdx.z), first, vector);
    Float4 here = load_vec<4>(f);
#pragma unroll 2
    for (int i = first; i < end; ++i, f += s.W * s.C) {
      const Float4 right = has_right ? load_vec<4>(f + s.C) : here;
      const Float4 below = i + 1 < s.H ? load_vec<4>(f + s.W * s.C) : here;
#pragma unroll
      for (int k = 0; k < 4; ++k) sums[k % 2] += rho(here[k] - right[k]) + rho(here[k] - below[k]);
      here = below;
    }
  }
  block_sums<kStripBlock>(sums, shared);
  if (threadIdx.x == 0) {
    const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    partials[block] = sums[0];
    partials[blocks + block] = sums[1];
  }
}

// delta ((beta delta)^2 + epsilon^2)^(alpha - 1) for delta = a - b.
__device__ __forceinline__ Float4 slopes(const Float4& a, const Float4& b, const Penalty& power) {
  Float4 s;
#pragma unroll
  for (int k = 0; k < 4; ++k) s[k] = (a[k] - b[k]) * power(a[k] - b[k]);
  return s;
}

// grid: x the vectors of a row, y the strips of rows, z the images. Each slope is computed once and goes with
// opposite signs to both its elements: downwards in a register of the same thread, to the right through
// shared memory. The first threads of a block, one pixel's worth, have no output: they compute the slopes to
// the right of the block's left neighbour. So an output costs 2.2 powers (C = 20) where the plain version
// takes 4; and at 8 bytes an output 4 powers take the special function unit about as long as memory takes.
// Bytes per output: 4 written, 5.2 read (10 rows for 8 of output, 128 threads for 123), of which memory sees
// 4 where strips that share rows run at the same time.
__global__ void __launch_bounds__(kStripBlock)
    smoothness_dflow_strips(const float* flow, const float* dloss_u, const float* dloss_v, Strips s,
                            Penalty power, float scale, float* dflow) {
  __shared__ Float4 to_right[2][kStripBlock];  // of two rows in turn, so that one barrier a row is enough
  const int t = static_cast<int>(threadIdx.x);
  const int vector = static_cast<int>(blockIdx.x) * (kStripBlock - s.pixel()) + t - s.pixel();
  const int first = static_cast<int>(blockIdx.y) * kStrip, end = min(first + kStrip, s.H);
  const bool inside = vector >= 0 && vector < s.row(), valid = inside && s.valid_vector(vector);
  const bool has_right = valid && vector + s.pixel() < s.row();
  const float factor[2] = {*dloss_u * scale, *dloss_v * scale};
  const int64_t start = s.element(static_cast<int>(blockIdx.z), first, inside ? vector : 0);
  const float* f = flow + start;
  float* d = dflow + start;
  const int width = s.W * s.C;
  Float4 here{}, above{};  // above: slopes of the differences between the row above and this one
  if (inside) here = load_vec<4>(f);
  if (valid && first > 0 && s.valid_row(first - 1)) above = slopes(load_vec<4>(f - width), here, power);
  for (int i = first; i < end; ++i, f += width, d += width) {
    Float4 right{}, down{}, below{};
    if (has_right && s.valid_row(i)) right = slopes(here, load_vec<4>(f + s.C), power);
    Float4* row = to_right[i % 2];
    row[t] = right;
    __syncthreads();
    if (inside && i + 1 < s.H) below = load_vec<4>(f + width);
    if (valid && s.valid_row(i) && i + 1 < s.H) down = slopes(here, below, power);
    if (t >= s.pixel() && inside) {
      const Float4 left = row[t - s.pixel()];
      Float4 sum;
#pragma unroll
      for (int k = 0; k < 4; ++k) sum[k] = factor[k % 2] * (right[k] - left[k] + down[k] - above[k]);
      store_vec(d, sum);
    }
    here = below;
    above = down;
  }
}

// --- how they are started

Border border_of(const CharbonnierAttrs& a) { return {.y = a.border_y, .x = a.border_x}; }
double mean_scale(const CharbonnierAttrs& a, const Shape& flow) {
  return 1 / (static_cast<double>(flow[0]) * a.normalizer);
}
// What dloss is multiplied with.
float slope_scale(const CharbonnierAttrs& a, const Shape& flow) {
  return static_cast<float>(2 * a.alpha * a.beta * a.beta * mean_scale(a, flow));
}
int64_t sum_bytes(int64_t blocks) { return 2 * blocks * static_cast<int64_t>(sizeof(float)); }

struct WriteLosses {
  float *u, *v;
  double scale;
  __device__ void operator()(const double (&sums)[2]) const {
    *u = static_cast<float>(sums[0] * scale);
    *v = static_cast<float>(sums[1] * scale);
  }
};

void add_up(const KernelArgs& args, int64_t blocks) {
  const double scale = mean_scale(args.attrs<Smoothness>(), args.in[0].shape);
  finish_partials<2>(static_cast<const float*>(args.workspace), blocks,
                     WriteLosses{args.out[0].as<float>(), args.out[1].as<float>(), scale}, args.stream);
}

std::optional<Prepared> prepare_smoothness(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  return Prepared{.state = nullptr, .workspace_bytes = sum_bytes(blocks_for(in[0].shape.count(), kBlock))};
}

void smoothness(const KernelArgs& args) {
  const CharbonnierAttrs& a = args.attrs<Smoothness>();
  const unsigned blocks = blocks_for(args.in[0].count(), kBlock);
  launch(smoothness_elements, {.grid = blocks, .block = kBlock}, args.stream, args.in[0], border_of(a),
         Penalty(a, a.alpha), static_cast<float*>(args.workspace));
  add_up(args, blocks);
}

void smoothness_dflow(const KernelArgs& args) {
  const CharbonnierAttrs& a = args.attrs<SmoothnessDflow>();
  launch(smoothness_dflow_elements, {.grid = blocks_for(args.out[0].count(), kBlock), .block = kBlock},
         args.stream, args.in[0], args.in[1].as<float>(), args.in[2].as<float>(), border_of(a),
         Penalty(a, a.alpha - 1), slope_scale(a, args.in[0].shape), args.out[0].as<float>());
}

bool strips_fit(const Shape& flow) {
  return flow[3] % 4 == 0 && flow[3] / 4 <= kStripBlock / 2 && flow.count() <= 1 << 30 && flow[0] <= 65535;
}

dim3 forward_grid(const Shape& flow, const CharbonnierAttrs& a) {
  return {blocks_for((flow[2] - 2 * a.border_x) * (flow[3] / 4), kStripBlock),
          blocks_for(flow[1] - 2 * a.border_y, kStrip), static_cast<unsigned>(flow[0])};
}

std::optional<Prepared> prepare_smoothness_strips(const Op& op, std::span<const Spec> in,
                                                  std::span<const Spec>) {
  if (!strips_fit(in[0].shape)) return std::nullopt;
  const dim3 grid = forward_grid(in[0].shape, static_cast<const Smoothness&>(op).attrs);
  return Prepared{.state = nullptr,
                  .workspace_bytes = sum_bytes(static_cast<int64_t>(grid.x) * grid.y * grid.z)};
}

void smoothness_by_strips(const KernelArgs& args) {
  const CharbonnierAttrs& a = args.attrs<Smoothness>();
  const dim3 grid = forward_grid(args.in[0].shape, a);
  launch(smoothness_strips, {.grid = grid, .block = kStripBlock}, args.stream, args.in[0].as<float>(),
         Strips(args.in[0].shape, a), Penalty(a, a.alpha), static_cast<float*>(args.workspace));
  add_up(args, static_cast<int64_t>(grid.x) * grid.y * grid.z);
}

std::optional<Prepared> prepare_smoothness_dflow_strips(const Op&, std::span<const Spec> in,
                                                        std::span<const Spec>) {
  if (!strips_fit(in[0].shape)) return std::nullopt;
  return Prepared{};
}

void smoothness_dflow_by_strips(const KernelArgs& args) {
  const CharbonnierAttrs& a = args.attrs<SmoothnessDflow>();
  const Shape& flow = args.in[0].shape;
  const Strips s(flow, a);
  const dim3 grid(blocks_for(s.row(), kStripBlock - s.pixel()), blocks_for(flow[1], kStrip),
                  static_cast<unsigned>(flow[0]));
  launch(smoothness_dflow_strips, {.grid = grid, .block = kStripBlock}, args.stream, args.in[0].as<float>(),
         args.in[1].as<float>(), args.in[2].as<float>(), s, Penalty(a, a.alpha - 1), slope_scale(a, flow),
         args.out[0].as<float>());
}

}  // namespace

void register_smoothness(Registry& r) {
  add_cuda_kernel(r, {.op = Smoothness::kName, .run = smoothness, .prepare = prepare_smoothness});
  add_cuda_kernel(r, {.op = Smoothness::kName,
                      .version = "strips",
                      .run = smoothness_by_strips,
                      .prepare = prepare_smoothness_strips,
                      .preference = 1});
  add_cuda_kernel(r, {.op = SmoothnessDflow::kName, .run = smoothness_dflow});
  add_cuda_kernel(r, {.op = SmoothnessDflow::kName,
                      .version = "strips",
                      .run = smoothness_dflow_by_strips,
                      .prepare = prepare_smoothness_dflow_strips,
                      .preference = 1});
}

}  // namespace MILLRACE_CUDA_NS
