// The fast version of multiscale_loss, `rows`: one block per window and group of ten pairs, a warp per row of
// the window, a lane per colour of a pair (30 of 32).
//
//   - What `plain` reads with a stride of pixels, a warp reads side by side: a pixel's targets are 120 bytes
//   in
//     one piece, its flow 80, its dflow 80, and the taps of ten samples ten pieces of 12, which lie together
//     where the flow is smooth.
//   - Each sample is worked out once, not six times, and kept in registers: eight pixels of four numbers.
//   - SSIM's moments are sums within a lane over the row, then over the eight rows in shared memory: no
//   shuffle.
//   - A difference of the flow to the right serves both of its pixels: three powers where `plain` has four.
//   - With the number of pairs known to the compiler (kPairs; 0: not) nearly all addresses are constants
//   added
//     to a row's; a window that no right edge cuts (kWhole) needs no test per pixel. Borders choose results,
//     not paths, so that the eight pixels are one stretch of code whose loads and powers overlap.
//
// A pixel of ten pairs moves 292 bytes and takes 185 instructions of a warp, counted in the code for sm_90
// with what a row does before and after its pixels: 46 clocks of an SM's four schedulers, where its share
// of 4.3 TB/s moves the bytes in 16. So instructions bound it; twelve of them are of the special function
// unit (four powers, two floors, two conversions), 24 clocks. What is left undone: a sample's cell is worked
// out by each of its three lanes, and 12 of 32 lanes have no component of the flow to smooth.
#pragma once

#include "cuda/multiscale_loss.cuh"
#include "cuda/reduce.cuh"
#include "cuda/vec.cuh"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kRowsBlock = kWindow * kLanes;
constexpr int kGroup = 10;  // pairs of a block

__host__ __device__ constexpr int groups_of(int pairs) { return (pairs + kGroup - 1) / kGroup; }

// What a lane does in its block.
struct Lane {
  int n, i, j, columns, k, colour;
  bool counts;  // else there is no such row or pair, and it does as another: shuffles and barriers need all
  int row, lane;
  float weight;  // of SSIM, of the row

  __device__ Lane(const Levels& levels, const Level& a, int pairs) {
    row = static_cast<int>(threadIdx.x) / kLanes;
    lane = static_cast<int>(threadIdx.x) % kLanes;
    const int block = static_cast<int>(blockIdx.x) - a.first, groups = groups_of(pairs);
    const Window window(a, block / groups);
    n = window.n;
    i = min(window.i + row, a.H - 1);
    j = window.j;
    columns = window.columns;
    weight = row < window.rows ? levels.weights[row] : 0.0f;
    k = block % groups * kGroup + lane / kColours;
    colour = lane % kColours;
    counts = row < window.rows && k < pairs && lane < kGroup * kColours;
    k = min(k, pairs - 1);
  }
};

// Which columns q of a window are valid in row i.
struct ValidColumns {
  int first;
  unsigned count;

  __device__ ValidColumns(const Level& a, const Rho& p, bool wanted, int i, int j)
      : first(p.border_x - j),
        count(wanted && i >= p.border_y && i < a.H - p.border_y ? static_cast<unsigned>(a.W - 2 * p.border_x)
                                                                : 0u) {}
  __device__ bool operator()(int q) const { return static_cast<unsigned>(q - first) < count; }
};

// A lane's samples of its row of the window.
struct Samples {
  float x[kWindow] = {}, d[kWindow] = {}, right[kWindow] = {}, down[kWindow] = {};
  Moments moments;
};

using LaneMoments = float[kMoments][kLanes];

// SSIM's moments of a lane's row to those of the window, for every row.
__device__ __forceinline__ void join_rows(Moments& m, const Lane& at, LaneMoments* rows,
                                          LaneMoments& window) {
#pragma unroll
  for (int which = 0; which < kMoments; ++which) rows[at.row][which][at.lane] = m.sum[which];
  __syncthreads();
  if (at.row < kMoments) {  // a warp for each
    float sum = 0;
#pragma unroll
    for (int row = 0; row < kWindow; ++row) sum += rows[row][at.row][at.lane];
    window[at.row][at.lane] = sum;
  }
  __syncthreads();
#pragma unroll
  for (int which = 0; which < kMoments; ++which) m.sum[which] = window[which][at.lane];
}

template <int kPairs, bool kWhole>
__device__ __forceinline__ void sample_row(const Levels& levels, const Level& a, const Lane& at, Samples& s) {
  const int K = kPairs ? kPairs : levels.K, flows = 2 * K, channels = kColours * (K + 1);
  const int64_t clip = int64_t{at.n} * a.H * a.W, pixel = clip + at.i * a.W + at.j;
  const float* images = a.images + clip * channels + kColours * at.k + at.colour;
  const float* target = a.images + pixel * channels + kColours * at.k + at.colour;
  const float* flow = a.flow + pixel * flows + 2 * at.k;
  const float y = static_cast<float>(at.i), x = static_cast<float>(at.j);
#pragma unroll
  for (int q = 0; q < kWindow; ++q) {
    if (!kWhole && q >= at.columns) break;
    const Float2 f = load_vec<2>(flow + q * flows);
    const Cell cell(x + static_cast<float>(q) + a.flow_scale * f[0], y + a.flow_scale * f[1], a.height,
                    a.width);
    const Sample sample(images, cell, target[q * channels], channels, a);
    s.x[q] = sample.x;
    s.d[q] = sample.d;
    s.right[q] = sample.right;
    s.down[q] = sample.down;
    s.moments.add(levels.weights[q], sample.x, sample.d);
  }
#pragma unroll
  for (float& sum : s.moments.sum) sum *= at.weight;
}

// The slopes of the smoothness terms along a row, for one component of the flow.
struct RowSmoothness {
  const Rho& penalty;
  const float *row, *above, *below;  // of the window's first pixel; at the image's edge the row itself
  int pitch;                         // elements from pixel to pixel
  ValidColumns here, there;          // of this row and the one above
  float own;                         // the flow at the next pixel
  float from_left = 0;               // slope of the difference whose second pixel that is
  float cost = 0;

  __device__ RowSmoothness(const Level& a, const float* flow, int i, int j, int pitch_)
      : penalty(a.smoothness),
        row(flow),
        above(i > 0 ? flow - a.W * pitch_ : flow),
        below(i + 1 < a.H ? flow + a.W * pitch_ : flow),
        pitch(pitch_),
        here(a, penalty, a.has_smoothness, i, j),
        there(a, penalty, a.has_smoothness && i > 0, i - 1, j),
        own(*flow) {
    if (here(-1)) {
      const float x = row[-pitch] - own;
      from_left = x * penalty(x).root;
    }
  }

  // At column q of the window; columns in their order.
  __device__ float next(int q, bool has_right) {
    const float right = has_right ? row[(q + 1) * pitch] : own;
    const float x = own - right, y = own - below[q * pitch], up = own - above[q * pitch];
    const Rho::Power px = penalty(x), py = penalty(y), pu = penalty(up);
    const float rx = here(q) ? px.root : 0.0f, ry = here(q) ? py.root : 0.0f, ru = there(q) ? pu.root : 0.0f;
    cost += px.base * rx;
    cost += py.base * ry;
    const float slope = x * rx + y * ry + up * ru - from_left;
    from_left = x * rx;
    own = right;
    return slope;
  }
};

template <int kPairs, bool kWhole>
__device__ __forceinline__ void write_row(const Levels& levels, const Level& a, const Lane& at,
                                          const Samples& s, const Dissimilarity& ssim, float& pixel_cost,
                                          float& smoothness_cost) {
  const int K = kPairs ? kPairs : levels.K, flows = 2 * K;
  const int component = at.colour == 0 ? 0 : 1;
  const int64_t first = (int64_t{at.n} * a.H * a.W + at.i * a.W + at.j) * flows + 2 * at.k + component;
  const float by_smoothness = component == 0 ? a.by_u : a.by_v;
  const float constant = at.weight * ssim.constant, by_x = at.weight * ssim.by_x,
              by_d = at.weight * ssim.by_d;
  const ValidColumns valid(a, a.pixel, a.has_pixel, at.i, at.j);
  RowSmoothness smoothness(a, a.flow + first, at.i, at.j, flows);
  float df[kWindow];
#pragma unroll
  for (int q = 0; q < kWindow; ++q) {
    if (!kWhole && q >= at.columns) break;
    const Rho::Power power = a.pixel(s.d[q]);
    const float root = valid(q) ? power.root : 0.0f;
    pixel_cost += power.base * root;
    const float dx =
        levels.weights[q] * (constant + by_x * s.x[q] + by_d * s.d[q]) + a.by_pixel * s.d[q] * root;
    // The sum over the three colours of du in the pair's first lane, of dv in its second.
    const float u = dx * s.right[q], v = dx * s.down[q];
    const float du = u + __shfl_down_sync(kWholeWarp, u, 1) + __shfl_down_sync(kWholeWarp, u, 2);
    const float dv = __shfl_up_sync(kWholeWarp, v, 1) + v + __shfl_down_sync(kWholeWarp, v, 1);
    const bool has_right = (kWhole && q + 1 < kWindow) || at.j + q + 1 < a.W;
    df[q] = a.flow_scale * (component == 0 ? du : dv) + by_smoothness * smoothness.next(q, has_right);
  }
  smoothness_cost = smoothness.cost;
  if (!at.counts || at.colour == 2) return;
#pragma unroll
  for (int q = 0; q < kWindow; ++q) {
    if (!kWhole && q >= at.columns) break;
    a.dflow[first + q * flows] = df[q];
  }
}

template <int kPairs> __global__ void __launch_bounds__(kRowsBlock, kPairs ? 3 : 2)
    window_rows(Levels levels, float* partials, int sums) {
  __shared__ float rows[kWindow][kMoments][kLanes];
  __shared__ float window[kMoments][kLanes];
  __shared__ float warps[kTerms * kWindow];
  const Level& a = levels.of(static_cast<int>(blockIdx.x));
  const Lane at(levels, a, kPairs ? kPairs : levels.K);
  const bool whole = at.columns == kWindow;
  Samples samples;
  if (whole)
    sample_row<kPairs, true>(levels, a, at, samples);
  else
    sample_row<kPairs, false>(levels, a, at, samples);
  Dissimilarity ssim;
  if (a.has_ssim) {
    join_rows(samples.moments, at, rows, window);
    ssim = Dissimilarity(samples.moments, a);
  }
  float pixel_cost = 0, smoothness_cost = 0;
  if (whole)
    write_row<kPairs, true>(levels, a, at, samples, ssim, pixel_cost, smoothness_cost);
  else
    write_row<kPairs, false>(levels, a, at, samples, ssim, pixel_cost, smoothness_cost);
  float cost[kTerms] = {};
  if (at.counts) {
    cost[MultiscaleLoss::kPixel] = pixel_cost;
    cost[MultiscaleLoss::kSmoothU] = at.colour == 0 ? smoothness_cost : 0.0f;
    cost[MultiscaleLoss::kSmoothV] = at.colour == 1 ? smoothness_cost : 0.0f;
    cost[MultiscaleLoss::kSsim] = at.row == 0 ? ssim.value : 0.0f;
  }
  block_sums<kRowsBlock>(cost, warps);
  if (threadIdx.x != 0) return;
  for (int term = 0; term < kTerms; ++term) partials[term * sums + blockIdx.x] = cost[term];
}

}  // namespace
}  // namespace MILLRACE_CUDA_NS
