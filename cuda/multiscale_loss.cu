// The losses of all levels and their gradient to the flows in one launch, and a second that adds the sums of
// the first. Nothing is stored between forward and backward: one pass over a window of SSIM gives its terms
// and, because dL/d(term) is known beforehand, the gradient of its pixels. No gradient goes to images, so no
// pixel gives to another: every element of dflow is one thread's sum, without atomics.
//
// Bytes per element of dflow, for K pairs of frames: 4 of dflow, 4 of flow and 6 (K + 1)/K of images. That is
// the floor of both versions, as long as a window's 8 x 8 pixels of images and flow (13.5 KB for K = 10) stay
// in the L1 cache while it is worked on. A clip of 224 x 224 has 16,709 pixels on its five levels, 4.9 MB.
#include "cuda/op.cuh"
#include "cuda/reduce.cuh"
#include "cuda/warp.cuh"
#include "losses/multiscale_loss.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kLevels = static_cast<int>(MultiscaleLoss::kMaxLevels);
constexpr int kTerms = static_cast<int>(MultiscaleLoss::kTerms);  // pixel, smooth_u, smooth_v, ssim
constexpr int kWindow = static_cast<int>(kSsimWindow);
constexpr int kColours = 3;

// A generalised Charbonnier penalty rho inside its border.
struct Penalty {
  float beta, epsilon2, exponent;  // exponent: alpha - 1
  int border_y, border_x;

  struct Result {
    float rho, slope;  // slope: rho'(x) / (2 alpha beta^2)
  };
  // Both from one power.
  __device__ Result operator()(float x) const {
    const float z = beta * x, base = z * z + epsilon2, root = __powf(base, exponent);
    return {base * root, x * root};
  }
};

struct Level {
  const float *flow, *images;
  float* dflow;
  int H, W, windows_down, windows_across;
  int64_t first;  // number of its first sum
  float flow_scale;
  bool has_pixel, has_smoothness, has_ssim;
  Penalty pixel, smoothness;
  float by_pixel, by_u, by_v, by_ssim;  // dL/d(slope): what slopes are multiplied by
  float c1, c2;

  __device__ bool valid(const Penalty& p, int i, int j) const {
    return i >= p.border_y && i < H - p.border_y && j >= p.border_x && j < W - p.border_x;
  }
};

// A table that travels by value, as an argument of the kernel.
struct Levels {
  Level level[kLevels];
  int count, K;
  float weights[kWindow];  // of SSIM, along an axis

  // The level of a sum.
  __device__ const Level& of(int64_t sum) const {
    int l = 0;
    while (l + 1 < count && sum >= level[l + 1].first) ++l;
    return level[l];
  }
};

// --- SSIM of a window and colour. d = x - y, the warped image and its target: with the mean and variance of
// d, 1 - lp and 1 - cs lose no digits where the images are alike (cpu/ssim.cpp).

constexpr int kMoments = 6;
struct Moments {
  float sum[kMoments] = {};  // of w times x, y, d, x^2, y^2, d^2

  __device__ void add(float w, float x, float d) {
    const float y = x - d, wx = w * x, wy = w * y, wd = w * d;
    sum[0] += wx;
    sum[1] += wy;
    sum[2] += wd;
    sum[3] += wx * x;
    sum[4] += wy * y;
    sum[5] += wd * d;
  }
};

// The gradient to x is w (constant + by_x x + by_d d).
struct Dissimilarity {
  float value, constant, by_x, by_d;

  __device__ Dissimilarity(const Moments& m, const Level& a) {
    const float mx = m.sum[0], my = m.sum[1], md = m.sum[2];
    const float lp_below = mx * mx + my * my + a.c1;
    const float cs_below = m.sum[3] - mx * mx + m.sum[4] - my * my + a.c2;
    const float lp_from_1 = md * md / lp_below, cs_from_1 = (m.sum[5] - md * md) / cs_below;
    const float slope = a.by_ssim * (1 - lp_from_1) / cs_below;
    value = lp_from_1 + (1 - lp_from_1) * cs_from_1;
    constant = a.by_ssim * (1 - cs_from_1) * (mx * lp_from_1 - md) / lp_below - slope * (cs_from_1 * mx - md);
    by_x = slope * cs_from_1;
    by_d = -slope;
  }
};

// One colour of frame k + 1 where the flow of pair k points from pixel (i,j), how far it is from frame k, and
// its slopes along u and v in pixels.
struct Sample {
  float x, d, right, down;

  // images: of the clip. channel: that of the target.
  __device__ Sample(const float* images, const Cell& at, int i, int j, int channel, int channels,
                    const Level& a) {
    const bool top = at.row >= 0 && at.row < a.H, bottom = at.row >= -1 && at.row < a.H - 1;
    const bool west = at.column >= 0 && at.column < a.W, east = at.column >= -1 && at.column < a.W - 1;
    const int first = (at.row * a.W + at.column) * channels + channel + kColours, below = a.W * channels;
    const float nw = top && west ? images[first] : 0.0f;
    const float ne = top && east ? images[first + channels] : 0.0f;
    const float sw = bottom && west ? images[first + below] : 0.0f;
    const float se = bottom && east ? images[first + below + channels] : 0.0f;
    const float upper = nw + at.right * (ne - nw), lower = sw + at.right * (se - sw);
    x = upper + at.down * (lower - upper);
    d = x - images[(i * a.W + j) * channels + channel];
    right = (ne - nw) + at.down * ((se - sw) - (ne - nw));
    down = lower - upper;
  }
};

// --- plain: one thread per window and pair, pixel by pixel. Twice over the pixels, once for SSIM's moments
// and once for all that needs them, each sample worked out again. Neighbours in a warp are pairs, whose
// channels lie side by side.

constexpr int kBlock = 128;

// The derivative of the smoothness terms with respect to channel c of a pixel's flow, and what the pixel's
// own differences (to the right and below) cost.
__device__ float smoothness_of(const Level& a, const float* flow, int i, int j, int c, int channels,
                               float& cost) {
  const Penalty& p = a.smoothness;
  auto at = [&](int y, int x) { return flow[(y * a.W + x) * channels + c]; };
  const float f = at(i, j);
  float slope = 0;
  if (a.valid(p, i, j)) {
    const bool right = j + 1 < a.W, below = i + 1 < a.H;
    const Penalty::Result dx = p(right ? f - at(i, j + 1) : 0.0f), dy = p(below ? f - at(i + 1, j) : 0.0f);
    cost += dx.rho + dy.rho;
    slope += dx.slope + dy.slope;
  }
  // rho is even: the slope at the second pixel of a difference is that of the difference the other way round.
  if (j > 0 && a.valid(p, i, j - 1)) slope += p(f - at(i, j - 1)).slope;
  if (i > 0 && a.valid(p, i - 1, j)) slope += p(f - at(i - 1, j)).slope;
  return slope;
}

struct Window {
  int n, i, j, rows, columns;

  __device__ Window(const Level& a, int64_t number) {
    const int window = static_cast<int>(number % (a.windows_down * a.windows_across));
    n = static_cast<int>(number / (a.windows_down * a.windows_across));
    i = window / a.windows_across * kWindow;
    j = window % a.windows_across * kWindow;
    rows = min(kWindow, a.H - i);
    columns = min(kWindow, a.W - j);
  }
};

__global__ void __launch_bounds__(kBlock) window_pairs(Levels levels, float* partials, int64_t sums) {
  const int64_t task = global_thread();
  if (task >= sums) return;
  const Level& a = levels.of(task);
  const int k = static_cast<int>((task - a.first) % levels.K);
  const Window at(a, (task - a.first) / levels.K);
  const int flows = 2 * levels.K, channels = kColours * (levels.K + 1);
  const int64_t clip = int64_t{at.n} * a.H * a.W;
  const float *flow = a.flow + clip * flows, *images = a.images + clip * channels;
  float* dflow = a.dflow + clip * flows;
  auto sample = [&](int i, int j, int c) {
    const float* f = flow + (i * a.W + j) * flows + 2 * k;
    const Cell cell(i, j, a.flow_scale * f[0], a.flow_scale * f[1], a.H, a.W);
    return Sample(images, cell, i, j, kColours * k + c, channels, a);
  };
  float cost[kTerms] = {};
  float constant[kColours] = {}, by_x[kColours] = {}, by_d[kColours] = {};
  for (int c = 0; c < kColours && a.has_ssim; ++c) {
    Moments moments;
    for (int p = 0; p < at.rows; ++p) {
      for (int q = 0; q < at.columns; ++q) {
        const Sample s = sample(at.i + p, at.j + q, c);
        moments.add(levels.weights[p] * levels.weights[q], s.x, s.d);
      }
    }
    const Dissimilarity ssim(moments, a);
    cost[MultiscaleLoss::kSsim] += ssim.value;
    constant[c] = ssim.constant;
    by_x[c] = ssim.by_x;
    by_d[c] = ssim.by_d;
  }
  for (int p = 0; p < at.rows; ++p) {
    for (int q = 0; q < at.columns; ++q) {
      const int i = at.i + p, j = at.j + q;
      const float w = levels.weights[p] * levels.weights[q];
      float du = 0, dv = 0;
      for (int c = 0; c < kColours && (a.has_pixel || a.has_ssim); ++c) {
        const Sample s = sample(i, j, c);
        float dx = w * (constant[c] + by_x[c] * s.x + by_d[c] * s.d);
        if (a.has_pixel && a.valid(a.pixel, i, j)) {
          const Penalty::Result penalty = a.pixel(s.d);
          cost[MultiscaleLoss::kPixel] += penalty.rho;
          dx += a.by_pixel * penalty.slope;
        }
        du += dx * s.right;
        dv += dx * s.down;
      }
      float su = 0, sv = 0;
      if (a.has_smoothness) {
        su = smoothness_of(a, flow, i, j, 2 * k, flows, cost[MultiscaleLoss::kSmoothU]);
        sv = smoothness_of(a, flow, i, j, 2 * k + 1, flows, cost[MultiscaleLoss::kSmoothV]);
      }
      float* out = dflow + (i * a.W + j) * flows + 2 * k;
      out[0] = a.flow_scale * du + a.by_u * su;
      out[1] = a.flow_scale * dv + a.by_v * sv;
    }
  }
  for (int term = 0; term < kTerms; ++term) partials[term * sums + task] = cost[term];
}

// --- the second launch: one block per level and term adds that level's sums.

struct Totals {
  int64_t first[kLevels + 1];
  float* out[kLevels * kTerms];
  double factor[kLevels * kTerms];
};

__global__ void __launch_bounds__(kPartialsBlock)
    add_windows(Totals totals, const float* partials, int64_t sums) {
  __shared__ double shared[kPartialsBlock / kLanes];
  const int which = static_cast<int>(blockIdx.x), level = which / kTerms, term = which % kTerms;
  double sum = 0;
  for (int64_t s = totals.first[level] + threadIdx.x; s < totals.first[level + 1]; s += kPartialsBlock)
    sum += partials[term * sums + s];
  sum = block_sum<kPartialsBlock>(sum, shared);
  if (threadIdx.x == 0) *totals.out[which] = static_cast<float>(sum * totals.factor[which]);
}

// --- host

int64_t windows_of(const Shape& flow) { return ssim_windows(flow[1]) * ssim_windows(flow[2]); }

// Sums of a term over all levels, when `groups` of pairs share a window.
int64_t count_sums(const MultiscaleLossAttrs& attrs, const auto& in, int64_t groups) {
  int64_t count = 0;
  for (size_t l = 0; l < attrs.levels.size(); ++l)
    count += in[2 * l].shape[0] * windows_of(in[2 * l].shape) * groups;
  return count;
}

Penalty make_penalty(const CharbonnierAttrs& a) {
  return {.beta = static_cast<float>(a.beta),
          .epsilon2 = static_cast<float>(a.epsilon * a.epsilon),
          .exponent = static_cast<float>(a.alpha - 1),
          .border_y = static_cast<int>(a.border_y),
          .border_x = static_cast<int>(a.border_x)};
}

Level make_level(const KernelArgs& args, size_t l) {
  const MultiscaleLevel& a = args.attrs<MultiscaleLoss>().levels[l];
  const Shape& flow = args.in[2 * l].shape;
  const auto N = static_cast<double>(flow[0]);
  auto slope = [&](const CharbonnierAttrs& p, double dterm) {
    return static_cast<float>(dterm * 2 * p.alpha * p.beta * p.beta / (N * p.normalizer));
  };
  return {.flow = args.in[2 * l].as<const float>(),
          .images = args.in[2 * l + 1].as<const float>(),
          .dflow = args.out[l * MultiscaleLoss::kOutputs + MultiscaleLoss::kDflow].as<float>(),
          .H = static_cast<int>(flow[1]),
          .W = static_cast<int>(flow[2]),
          .windows_down = static_cast<int>(ssim_windows(flow[1])),
          .windows_across = static_cast<int>(ssim_windows(flow[2])),
          .first = 0,
          .flow_scale = static_cast<float>(a.flow_scale),
          .has_pixel = a.has_pixel,
          .has_smoothness = a.has_smoothness,
          .has_ssim = a.has_ssim,
          .pixel = make_penalty(a.pixel),
          .smoothness = make_penalty(a.smoothness),
          .by_pixel = slope(a.pixel, a.dpixel),
          .by_u = slope(a.smoothness, a.dsmooth_u),
          .by_v = slope(a.smoothness, a.dsmooth_v),
          .by_ssim = static_cast<float>(-2 * a.dssim / N),
          .c1 = static_cast<float>(a.ssim.c1),
          .c2 = static_cast<float>(a.ssim.c2)};
}

void set_terms(Totals& totals, const KernelArgs& args, size_t l) {
  const MultiscaleLevel& a = args.attrs<MultiscaleLoss>().levels[l];
  const double factors[] = {1 / a.pixel.normalizer, 1 / a.smoothness.normalizer, 1 / a.smoothness.normalizer,
                            a.ssim_weight};
  for (size_t term = 0; term < MultiscaleLoss::kTerms; ++term) {
    totals.out[l * kTerms + term] = args.out[l * MultiscaleLoss::kOutputs + term].as<float>();
    totals.factor[l * kTerms + term] = factors[term] / static_cast<double>(args.in[0].shape[0]);
  }
}

// Both launches; `first` starts the first one, of a sum per window and group of pairs.
template <class First> void run(const KernelArgs& args, int64_t groups, const First& first) {
  const MultiscaleLossAttrs& attrs = args.attrs<MultiscaleLoss>();
  Levels levels{};
  Totals totals{};
  levels.count = static_cast<int>(attrs.levels.size());
  levels.K = static_cast<int>(args.in[0].shape[3] / 2);
  for (int q = 0; q < kWindow; ++q)
    levels.weights[q] = static_cast<float>(ssim_weights()[static_cast<size_t>(q)]);
  int64_t sums = 0;
  for (size_t l = 0; l < attrs.levels.size(); ++l) {
    levels.level[l] = make_level(args, l);
    levels.level[l].first = totals.first[l] = sums;
    set_terms(totals, args, l);
    sums += args.in[2 * l].shape[0] * windows_of(args.in[2 * l].shape) * groups;
    totals.first[l + 1] = sums;
  }
  auto* partials = static_cast<float*>(args.workspace);
  first(levels, partials, sums);
  launch(add_windows, {.grid = static_cast<unsigned>(levels.count * kTerms), .block = kPartialsBlock},
         args.stream, totals, partials, sums);
}

// Elements of a clip's images are counted in 32 bits, with room for a row outside.
std::optional<Prepared> prepare(const Op& op, std::span<const Spec> in, int64_t groups) {
  for (size_t k = 1; k < in.size(); k += 2) {
    const Shape& images = in[k].shape;
    if ((images[1] + 2) * (images[2] + 2) * images[3] > int64_t{1} << 30) return {};
  }
  const int64_t sums = count_sums(static_cast<const MultiscaleLoss&>(op).attrs, in, groups);
  return Prepared{.state = nullptr,
                  .workspace_bytes = kTerms * sums * static_cast<int64_t>(sizeof(float)),
                  .implementation = {},
                  .layouts = {}};
}

std::optional<Prepared> prepare_plain(const Op& op, std::span<const Spec> in, std::span<const Spec>) {
  return prepare(op, in, in[0].shape[3] / 2);
}

void plain(const KernelArgs& args) {
  run(args, args.in[0].shape[3] / 2, [&](const Levels& levels, float* partials, int64_t sums) {
    launch(window_pairs, {.grid = blocks_for(sums, kBlock), .block = kBlock}, args.stream, levels, partials,
           sums);
  });
}

}  // namespace

void register_multiscale_loss(Registry& r) {
  add_cuda_kernel(r, {.op = MultiscaleLoss::kName, .run = plain, .prepare = prepare_plain});
}

}  // namespace MILLRACE_CUDA_NS
