#include <algorithm>

#include "cuda/op.cuh"
#include "cuda/reduce.cuh"
#include "losses/ssim.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kWindow = static_cast<int>(kSsimWindow);

using In = View4<const float>;

// What all windows share.
struct Weights {
  float w[kWindow];  // along one axis
  float c1, c2;

  explicit Weights(const SsimAttrs& a) : c1(static_cast<float>(a.c1)), c2(static_cast<float>(a.c2)) {
    std::transform(ssim_weights().begin(), ssim_weights().end(), w,
                   [](double weight) { return static_cast<float>(weight); });
  }
  // w[p] by comparisons: an index known only at run time would move the array to local memory.
  __device__ float of_row(int p) const {
    float found = w[0];
#pragma unroll
    for (int k = 1; k < kWindow; ++k) found = p == k ? w[k] : found;
    return found;
  }
};

// Weighted sums over the window: of x, y and d = x - y, and of their squares.
constexpr int kSums = 6;
struct Sums {
  float of[kSums] = {};

  __device__ void add(float w, float x, float y) {
    const float d = x - y, wx = w * x, wy = w * y, wd = w * d;
    of[0] += wx;
    of[1] += wy;
    of[2] += wd;
    of[3] += wx * x;
    of[4] += wy * y;
    of[5] += wd * d;
  }
};

// What follows from the sums. The factors lp and cs are near 1 where the images are alike, so it is their
// distance from 1 that is computed: 1 - lp = md^2 / lp_below and 1 - cs = sdd / cs_below lose no digits, and
// are 0 for equal images.
struct Statistics {
  float mx, md, lp_below, cs_below, lp_from_1, cs_from_1;

  __device__ Statistics(const Sums& sum, const Weights& weights) {
    mx = sum.of[0];
    md = sum.of[2];
    const float my = sum.of[1], sxx = sum.of[3] - mx * mx, syy = sum.of[4] - my * my;
    lp_below = mx * mx + my * my + weights.c1;
    cs_below = sxx + syy + weights.c2;
    lp_from_1 = md * md / lp_below;
    cs_from_1 = (sum.of[5] - md * md) / cs_below;
  }
  // 1 - lp cs
  __device__ float dissimilarity() const { return lp_from_1 + (1 - lp_from_1) * cs_from_1; }
};

// dx = w (constant + slope ((1 - cs) x - d)) for all pixels of a window. `factor` is -2 dloss / N.
struct Gradient {
  float constant, slope, cs_from_1;

  __device__ Gradient(const Statistics& s, float factor) : cs_from_1(s.cs_from_1) {
    const float lp = 1 - s.lp_from_1, cs = 1 - s.cs_from_1;
    slope = factor * lp / s.cs_below;
    constant = factor * cs * (s.mx * s.lp_from_1 - s.md) / s.lp_below - slope * (cs_from_1 * s.mx - s.md);
  }
  __device__ float operator()(float w, float x, float y) const {
    return w * (constant + slope * (cs_from_1 * x - (x - y)));
  }
};

// --- plain

constexpr int kBlock = 128;

// A window, cut where the image ends, and one channel of it.
struct Window {
  int64_t n, i, j, c;
  int rows, columns;

  __device__ Window(const In& x, int64_t number) {
    const int64_t across = ssim_windows(x.W), down = ssim_windows(x.H);
    c = number % x.C;
    j = number / x.C % across * kWindow;
    i = number / x.C / across % down * kWindow;
    n = number / x.C / across / down;
    rows = static_cast<int>(min(static_cast<int64_t>(kWindow), x.H - i));
    columns = static_cast<int>(min(static_cast<int64_t>(kWindow), x.W - j));
  }
};

MILLRACE_HD int64_t window_count(const In& x) { return x.N * ssim_windows(x.H) * ssim_windows(x.W) * x.C; }

__device__ __forceinline__ Sums sums_of(const In& x, const In& y, const Window& at, const Weights& weights) {
  Sums sums;
  for (int p = 0; p < at.rows; ++p) {
    const float down = weights.of_row(p);
#pragma unroll
    for (int q = 0; q < kWindow; ++q) {
      if (q < at.columns)
        sums.add(down * weights.w[q], x(at.n, at.i + p, at.j + q, at.c), y(at.n, at.i + p, at.j + q, at.c));
    }
  }
  return sums;
}

// One thread per window and channel, neighbours along channels: a warp reads whole lines, pixel after pixel.
// A sum per block, which a second launch adds. Bytes per pixel and channel: 8 read.
__global__ void __launch_bounds__(kBlock) ssim_windows_each(In x, In y, Weights weights, float* partials) {
  __shared__ float shared[kBlock / kLanes];
  const int64_t number = global_thread();
  float loss = 0;
  if (number < window_count(x)) {
    const Window at(x, number);
    loss = Statistics(sums_of(x, y, at, weights), weights).dissimilarity();
  }
  const float sum = block_sum<kBlock>(loss, shared);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// Likewise; windows do not overlap, so each thread writes its own. Bytes per output: 4 written, 16 read, of
// which 8 for the second time.
__global__ void __launch_bounds__(kBlock)
    ssim_dx_windows_each(const float* dloss, In x, In y, Weights weights, float scale, View4<float> dx) {
  const int64_t number = global_thread();
  if (number >= window_count(x)) return;
  const Window at(x, number);
  const Statistics statistics(sums_of(x, y, at, weights), weights);
  const Gradient gradient(statistics, scale * *dloss);
  for (int p = 0; p < at.rows; ++p) {
    const float down = weights.of_row(p);
#pragma unroll
    for (int q = 0; q < kWindow; ++q) {
      const int64_t i = at.i + p, j = at.j + q;
      if (q < at.columns)
        dx(at.n, i, j, at.c) = gradient(down * weights.w[q], x(at.n, i, j, at.c), y(at.n, i, j, at.c));
    }
  }
}

// --- rows
//
// A thread per row of a window and channel, so eight times as many threads, each with an eighth of the serial
// work: the small levels, a few hundred windows and channels, no longer wait for 64 loads one after another.
// A block is a warp per row of a window; the lanes are 32 neighbours of all (window of this row of windows,
// channel), so loads stay whole lines and no lane idles for C < 32. A thread keeps its 8 pixels in registers,
// and the gradient reads nothing twice. The sums of the eight rows meet in shared memory, where warp k adds
// the k-th of the six. (Lanes as pixels and sums by shuffles would take 30 shuffles a channel and window,
// more than all its arithmetic: 64 pixels are only two a lane.)

constexpr int kRowsBlock = kLanes * kWindow;

struct Images {
  const float *x, *y;
  int H, W, C, down, columns;  // columns: lanes of a row of windows, windows times C

  Images(const Tensor& x_, const Tensor& y_)
      : x(x_.as<float>()),
        y(y_.as<float>()),
        H(static_cast<int>(x_.shape[1])),
        W(static_cast<int>(x_.shape[2])),
        C(static_cast<int>(x_.shape[3])),
        down(static_cast<int>(ssim_windows(H))),
        columns(static_cast<int>(ssim_windows(W)) * C) {}
};

// The eight pixels of a thread; those outside of the image count 0 and have weight 0.
struct WindowRow {
  int64_t start;  // of the first pixel
  int columns;    // pixels inside; 0 where the row or the lane is outside
  float x[kWindow], y[kWindow];

  __device__ explicit WindowRow(const Images& in) {
    const int lane = static_cast<int>(blockIdx.x * kLanes + threadIdx.x);
    const int n = static_cast<int>(blockIdx.y) / in.down, window = static_cast<int>(blockIdx.y) % in.down;
    const int i = window * kWindow + static_cast<int>(threadIdx.y), j = lane / in.C * kWindow;
    start = (static_cast<int64_t>(n * in.H + i) * in.W + j) * in.C + lane % in.C;
    columns = lane < in.columns && i < in.H ? min(kWindow, in.W - j) : 0;
#pragma unroll
    for (int q = 0; q < kWindow; ++q) {
      x[q] = q < columns ? in.x[start + q * in.C] : 0.0f;
      y[q] = q < columns ? in.y[start + q * in.C] : 0.0f;
    }
  }
};

// The sums over the whole window, to all its threads. shared: a number for each sum and thread.
__device__ __forceinline__ Sums window_sums(const WindowRow& row, const Weights& weights, float down,
                                            float (*shared)[kWindow][kLanes]) {
  const int lane = static_cast<int>(threadIdx.x), p = static_cast<int>(threadIdx.y);
  Sums sums;
#pragma unroll
  for (int q = 0; q < kWindow; ++q) sums.add(down * weights.w[q], row.x[q], row.y[q]);
#pragma unroll
  for (int k = 0; k < kSums; ++k) shared[k][p][lane] = sums.of[k];
  __syncthreads();
  if (p < kSums) {
    float sum = 0;
#pragma unroll
    for (int r = 0; r < kWindow; ++r) sum += shared[p][r][lane];
    shared[p][0][lane] = sum;
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < kSums; ++k) sums.of[k] = shared[k][0][lane];
  return sums;
}

// grid: x lanes of a row of windows, y rows of windows of all images. Bytes per pixel and channel: 8 read.
__global__ void __launch_bounds__(kRowsBlock) ssim_rows(Images in, Weights weights, float* partials) {
  __shared__ float shared[kSums][kWindow][kLanes];
  const WindowRow row(in);
  const Sums sums = window_sums(row, weights, weights.of_row(static_cast<int>(threadIdx.y)), shared);
  if (threadIdx.y != 0) return;
  const float loss = row.columns > 0 ? Statistics(sums, weights).dissimilarity() : 0.0f;
  const float sum = warp_sum(loss);
  if (threadIdx.x == 0) partials[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// The same grid. Bytes per output: 4 written, 8 read.
__global__ void __launch_bounds__(kRowsBlock)
    ssim_dx_rows(const float* dloss, Images in, Weights weights, float scale, float* dx) {
  __shared__ float shared[kSums][kWindow][kLanes];
  const WindowRow row(in);
  const float down = weights.of_row(static_cast<int>(threadIdx.y));
  const Gradient gradient(Statistics(window_sums(row, weights, down, shared), weights), scale * *dloss);
#pragma unroll
  for (int q = 0; q < kWindow; ++q) {
    if (q < row.columns) dx[row.start + q * in.C] = gradient(down * weights.w[q], row.x[q], row.y[q]);
  }
}

// --- how they are started

int64_t sum_bytes(int64_t partials) { return partials * static_cast<int64_t>(sizeof(float)); }
// What dloss is multiplied with.
float slope_scale(const Tensor& x) { return static_cast<float>(-2.0 / static_cast<double>(x.shape[0])); }

int64_t window_count(const Shape& x) { return x[0] * ssim_windows(x[1]) * ssim_windows(x[2]) * x[3]; }

std::optional<Prepared> prepare_ssim(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  return Prepared{.state = nullptr,
                  .workspace_bytes = sum_bytes(blocks_for(window_count(in[0].shape), kBlock))};
}

void add_up(const KernelArgs& args, int64_t partials) {
  sum_partials<1>(static_cast<const float*>(args.workspace), partials, args.out[0].as<float>(),
                  1 / static_cast<double>(args.in[0].shape[0]), args.stream);
}

void ssim(const KernelArgs& args) {
  const unsigned blocks = blocks_for(window_count(args.in[0].shape), kBlock);
  launch(ssim_windows_each, {.grid = blocks, .block = kBlock}, args.stream, args.in[0], args.in[1],
         Weights(args.attrs<Ssim>()), static_cast<float*>(args.workspace));
  add_up(args, blocks);
}

void ssim_dx(const KernelArgs& args) {
  launch(ssim_dx_windows_each, {.grid = blocks_for(window_count(args.in[1].shape), kBlock), .block = kBlock},
         args.stream, args.in[0].as<float>(), args.in[1], args.in[2], Weights(args.attrs<SsimDx>()),
         slope_scale(args.in[1]), args.out[0]);
}

dim3 rows_grid(const Shape& x) {
  return {blocks_for(ssim_windows(x[2]) * x[3], kLanes), static_cast<unsigned>(x[0] * ssim_windows(x[1]))};
}

bool rows_fit(const Shape& x) { return x.count() <= 1 << 30 && x[0] * ssim_windows(x[1]) <= 65535; }

std::optional<Prepared> prepare_ssim_rows(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  if (!rows_fit(in[0].shape)) return std::nullopt;
  const dim3 grid = rows_grid(in[0].shape);
  return Prepared{.state = nullptr, .workspace_bytes = sum_bytes(static_cast<int64_t>(grid.x) * grid.y)};
}

void ssim_by_rows(const KernelArgs& args) {
  const dim3 grid = rows_grid(args.in[0].shape);
  launch(ssim_rows, {.grid = grid, .block = dim3(kLanes, kWindow)}, args.stream,
         Images(args.in[0], args.in[1]), Weights(args.attrs<Ssim>()), static_cast<float*>(args.workspace));
  add_up(args, static_cast<int64_t>(grid.x) * grid.y);
}

std::optional<Prepared> prepare_ssim_dx_rows(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  if (!rows_fit(in[1].shape)) return std::nullopt;
  return Prepared{};
}

void ssim_dx_by_rows(const KernelArgs& args) {
  launch(ssim_dx_rows, {.grid = rows_grid(args.in[1].shape), .block = dim3(kLanes, kWindow)}, args.stream,
         args.in[0].as<float>(), Images(args.in[1], args.in[2]), Weights(args.attrs<SsimDx>()),
         slope_scale(args.in[1]), args.out[0].as<float>());
}

}  // namespace

void register_ssim(Registry& r) {
  add_cuda_kernel(r, {.op = Ssim::kName, .run = ssim, .prepare = prepare_ssim});
  add_cuda_kernel(r, {.op = Ssim::kName,
                      .version = "rows",
                      .run = ssim_by_rows,
                      .prepare = prepare_ssim_rows,
                      .preference = 1});
  add_cuda_kernel(r, {.op = SsimDx::kName, .run = ssim_dx});
  add_cuda_kernel(r, {.op = SsimDx::kName,
                      .version = "rows",
                      .run = ssim_dx_by_rows,
                      .prepare = prepare_ssim_dx_rows,
                      .preference = 1});
}

}  // namespace MILLRACE_CUDA_NS
