// What the versions of multiscale_loss share: the table of levels, and what a pixel and a window of SSIM add
// to the losses.
#pragma once

#include "cuda/power.cuh"
#include "cuda/warp.cuh"
#include "losses/multiscale_loss.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kLevels = static_cast<int>(MultiscaleLoss::kMaxLevels);
constexpr int kTerms = static_cast<int>(MultiscaleLoss::kTerms);  // pixel, smooth_u, smooth_v, ssim
constexpr int kWindow = static_cast<int>(kSsimWindow);
constexpr int kColours = 3;

// A generalised Charbonnier penalty rho inside its border.
struct Rho {
  float beta, epsilon2, exponent;  // exponent: alpha - 1
  int border_y, border_x;

  // rho(x) = base root, and rho'(x) = 2 alpha beta^2 x root: both from one power.
  struct Power {
    float base, root;
  };
  __device__ Power operator()(float x) const {
    const float z = beta * x, base = z * z + epsilon2;
    return {base, power(base, exponent)};
  }
};

struct Level {
  const float *flow, *images;
  float* dflow;
  int H, W, windows_down, windows_across;
  float height, width;  // H and W once more
  int first;            // number of its first sum
  float flow_scale;
  bool has_pixel, has_smoothness, has_ssim;
  Rho pixel, smoothness;
  float by_pixel, by_u, by_v, by_ssim;  // of what is dL/d(x) for a term: 2 alpha beta^2 dL/d(rho), ...
  float c1, c2;

  __device__ bool valid(const Rho& p, int i, int j) const {
    return i >= p.border_y && i < H - p.border_y && j >= p.border_x && j < W - p.border_x;
  }
};

// A table that travels by value, as an argument of the kernel.
struct Levels {
  Level level[kLevels];
  int count, K;
  float weights[kWindow];  // of SSIM, along an axis

  // The level of a sum.
  __device__ const Level& of(int sum) const {
    int l = 0;
    while (l + 1 < count && sum >= level[l + 1].first) ++l;
    return level[l];
  }
};

// --- SSIM of a window and colour. With the mean and variance of d = x - y, the warped image less its target,
// 1 - lp and 1 - cs lose no digits where the images are alike (cpu/ssim.cpp), and y needs no sums of its own.

constexpr int kMoments = 5;
struct Moments {
  float sum[kMoments] = {};  // of w times x, d, x^2, x d, d^2

  __device__ void add(float w, float x, float d) {
    const float wx = w * x, wd = w * d;
    sum[0] += wx;
    sum[1] += wd;
    sum[2] += wx * x;
    sum[3] += wx * d;
    sum[4] += wd * d;
  }
};

// The gradient to x is w (constant + by_x x + by_d d).
struct Dissimilarity {
  float value = 0, constant = 0, by_x = 0, by_d = 0;

  Dissimilarity() = default;
  __device__ Dissimilarity(const Moments& m, const Level& a) {
    const float mx = m.sum[0], md = m.sum[1], my = mx - md;
    const float sxx = m.sum[2] - mx * mx, syy = m.sum[2] - 2 * m.sum[3] + m.sum[4] - my * my;
    const float lp_below = __fdividef(1, mx * mx + my * my + a.c1),
                cs_below = __fdividef(1, sxx + syy + a.c2);
    const float lp_from_1 = md * md * lp_below, cs_from_1 = (m.sum[4] - md * md) * cs_below;
    const float slope = a.by_ssim * (1 - lp_from_1) * cs_below;
    value = lp_from_1 + (1 - lp_from_1) * cs_from_1;
    constant = a.by_ssim * (1 - cs_from_1) * (mx * lp_from_1 - md) * lp_below - slope * (cs_from_1 * mx - md);
    by_x = slope * cs_from_1;
    by_d = -slope;
  }
};

// One colour of frame k + 1 where the flow of pair k points, how far it is from its target in frame k, and
// its slopes along u and v in pixels.
struct Sample {
  float x, d, right, down;

  // images: the target's channel of the clip's first pixel.
  __device__ Sample(const float* images, const Cell& at, float target, int channels, const Level& a) {
    const auto H = static_cast<unsigned>(a.H), W = static_cast<unsigned>(a.W);
    const bool top = static_cast<unsigned>(at.row) < H, bottom = static_cast<unsigned>(at.row + 1) < H;
    const bool west = static_cast<unsigned>(at.column) < W, east = static_cast<unsigned>(at.column + 1) < W;
    const float* tap = images + (at.row * a.W + at.column) * channels + kColours;
    const int below = a.W * channels;
    const float nw = top && west ? tap[0] : 0.0f, ne = top && east ? tap[channels] : 0.0f;
    const float sw = bottom && west ? tap[below] : 0.0f, se = bottom && east ? tap[below + channels] : 0.0f;
    const float upper = nw + at.right * (ne - nw), lower = sw + at.right * (se - sw);
    x = upper + at.down * (lower - upper);
    d = x - target;
    right = (ne - nw) + at.down * ((se - sw) - (ne - nw));
    down = lower - upper;
  }
};

// A window of SSIM, cut to the image.
struct Window {
  int n, i, j, rows, columns;

  __device__ Window(const Level& a, int number) {
    const int windows = a.windows_down * a.windows_across, window = number % windows;
    n = number / windows;
    i = window / a.windows_across * kWindow;
    j = window % a.windows_across * kWindow;
    rows = min(kWindow, a.H - i);
    columns = min(kWindow, a.W - j);
  }
};

}  // namespace
}  // namespace MILLRACE_CUDA_NS
