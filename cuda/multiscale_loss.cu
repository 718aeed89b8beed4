// The losses of all levels and their gradient to the flows in one launch, and a second that adds the sums of
// the first. Nothing is stored between forward and backward: one pass over a window of SSIM gives its terms
// and, because dL/d(term) is known beforehand, the gradient of its pixels. No gradient goes to images, so no
// pixel gives to another: every element of dflow is one thread's sum, without atomics.
//
// Bytes per element of dflow, for K pairs of frames: 4 of dflow, 4 of flow and 6 (K + 1)/K of images. That is
// the floor of both versions, as long as a window's 8 x 8 pixels of images and flow (13.5 KB for K = 10) stay
// in the L1 cache while it is worked on. A clip of 224 x 224 has 16,709 pixels on its five levels, 4.9 MB.
#include "cuda/multiscale_loss_rows.cuh"
#include "cuda/op.cuh"
#include "cuda/reduce.cuh"

namespace MILLRACE_CUDA_NS {
namespace {

// --- plain (its faster sister: multiscale_loss_rows.cuh). One thread per window and pair, pixel by pixel.
// Twice over the pixels, once for SSIM's moments and once for all that needs them, each sample worked out
// again. Neighbours in a warp are pairs, whose channels lie side by side.

constexpr int kBlock = 128;

// The derivative of the smoothness terms with respect to channel c of a pixel's flow, and what the pixel's
// own differences (to the right and below) cost.
__device__ float smoothness_of(const Level& a, const float* flow, int i, int j, int c, int channels,
                               float& cost) {
  const Rho& p = a.smoothness;
  const float* f = flow + (i * a.W + j) * channels + c;
  float slope = 0;
  auto add_difference = [&](int step, bool inside, bool costs) {
    const float x = inside ? f[0] - f[step] : 0.0f;
    const Rho::Power power = p(x);
    if (costs) cost += power.base * power.root;
    slope += x * power.root;
  };
  if (a.valid(p, i, j)) {
    add_difference(channels, j + 1 < a.W, true);
    add_difference(a.W * channels, i + 1 < a.H, true);
  }
  // rho is even: the slope at the second pixel of a difference is that of the difference the other way round.
  if (a.valid(p, i, j - 1)) add_difference(-channels, true, false);
  if (a.valid(p, i - 1, j)) add_difference(-a.W * channels, true, false);
  return slope;
}

__global__ void __launch_bounds__(kBlock) window_pairs(Levels levels, float* partials, int sums) {
  const int task = static_cast<int>(global_thread());
  if (task >= sums) return;
  const Level& a = levels.of(task);
  const int k = (task - a.first) % levels.K;
  const Window at(a, (task - a.first) / levels.K);
  const int flows = 2 * levels.K, channels = kColours * (levels.K + 1);
  const int64_t clip = int64_t{at.n} * a.H * a.W;
  const float *flow = a.flow + clip * flows, *images = a.images + clip * channels;
  float* dflow = a.dflow + clip * flows;
  auto sample = [&](int i, int j, int c) {
    const float* f = flow + (i * a.W + j) * flows + 2 * k;
    const Cell cell(static_cast<float>(j) + a.flow_scale * f[0], static_cast<float>(i) + a.flow_scale * f[1],
                    a.height, a.width);
    const int channel = kColours * k + c;
    return Sample(images + channel, cell, images[(i * a.W + j) * channels + channel], channels, a);
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
          const Rho::Power power = a.pixel(s.d);
          cost[MultiscaleLoss::kPixel] += power.base * power.root;
          dx += a.by_pixel * s.d * power.root;
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
  int first[kLevels + 1];
  float* out[kLevels * kTerms];
  double factor[kLevels * kTerms];
};

__global__ void __launch_bounds__(kPartialsBlock)
    add_windows(Totals totals, const float* partials, int sums) {
  __shared__ double shared[kPartialsBlock / kLanes];
  const int which = static_cast<int>(blockIdx.x), level = which / kTerms, term = which % kTerms;
  double sum = 0;
  for (int s = totals.first[level] + static_cast<int>(threadIdx.x); s < totals.first[level + 1];
       s += kPartialsBlock)
    sum += partials[term * sums + s];
  sum = block_sum<kPartialsBlock>(sum, shared);
  if (threadIdx.x == 0) *totals.out[which] = static_cast<float>(sum * totals.factor[which]);
}

// --- host

// Of all clips.
int64_t windows_of(const Shape& flow) { return flow[0] * ssim_windows(flow[1]) * ssim_windows(flow[2]); }

Rho make_rho(const CharbonnierAttrs& a) {
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
          .height = static_cast<float>(flow[1]),
          .width = static_cast<float>(flow[2]),
          .first = 0,
          .flow_scale = static_cast<float>(a.flow_scale),
          .has_pixel = a.has_pixel,
          .has_smoothness = a.has_smoothness,
          .has_ssim = a.has_ssim,
          .pixel = make_rho(a.pixel),
          .smoothness = make_rho(a.smoothness),
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
  int sums = 0;
  for (size_t l = 0; l < attrs.levels.size(); ++l) {
    levels.level[l] = make_level(args, l);
    levels.level[l].first = totals.first[l] = sums;
    set_terms(totals, args, l);
    sums += static_cast<int>(windows_of(args.in[2 * l].shape) * groups);
    totals.first[l + 1] = sums;
  }
  auto* partials = static_cast<float*>(args.workspace);
  first(levels, partials, sums);
  launch(add_windows, {.grid = static_cast<unsigned>(levels.count * kTerms), .block = kPartialsBlock},
         args.stream, totals, partials, sums);
}

// Sums, and elements of a clip's images with room for a row outside, are counted in 32 bits.
std::optional<Prepared> prepare(std::span<const Spec> in, int64_t groups) {
  constexpr int64_t kMost = int64_t{1} << 30;
  int64_t sums = 0;
  for (size_t k = 0; k < in.size(); k += 2) {
    const Shape& images = in[k + 1].shape;
    if ((images[1] + 2) * (images[2] + 2) * images[3] > kMost) return {};
    sums += windows_of(in[k].shape) * groups;
  }
  if (sums * kTerms > kMost) return {};
  return Prepared{.state = nullptr,
                  .workspace_bytes = kTerms * sums * static_cast<int64_t>(sizeof(float)),
                  .implementation = {},
                  .layouts = {}};
}

std::optional<Prepared> prepare_plain(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  return prepare(in, in[0].shape[3] / 2);
}

void plain(const KernelArgs& args) {
  run(args, args.in[0].shape[3] / 2, [&](const Levels& levels, float* partials, int sums) {
    launch(window_pairs, {.grid = blocks_for(sums, kBlock), .block = kBlock}, args.stream, levels, partials,
           sums);
  });
}

int pairs_of(const Shape& flow) { return static_cast<int>(flow[3] / 2); }

std::optional<Prepared> prepare_rows(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  return prepare(in, groups_of(pairs_of(in[0].shape)));
}

void rows(const KernelArgs& args) {
  const int pairs = pairs_of(args.in[0].shape);
  run(args, groups_of(pairs), [&](const Levels& levels, float* partials, int sums) {
    launch(pairs == kGroup ? window_rows<kGroup> : window_rows<0>,
           {.grid = blocks_for(sums, 1), .block = kRowsBlock}, args.stream, levels, partials, sums);
  });
}

}  // namespace

void register_multiscale_loss(Registry& r) {
  add_cuda_kernel(r, {.op = MultiscaleLoss::kName, .run = plain, .prepare = prepare_plain});
  add_cuda_kernel(r, {.op = MultiscaleLoss::kName,
                      .version = "rows",
                      .run = rows,
                      .prepare = prepare_rows,
                      .preference = 1});
}

}  // namespace MILLRACE_CUDA_NS
