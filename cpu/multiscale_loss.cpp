#include "losses/multiscale_loss.h"

#include <algorithm>
#include <cmath>

#include "cpu/power.h"
#include "cpu/reduce.h"

namespace millrace::cpu {
namespace {

constexpr int64_t kPairs = 10;  // of frames at a time, so that a patch lies in near memory
constexpr int64_t kColours = 3, kChannels = kPairs * kColours;
constexpr int64_t kPixels = kSsimWindow * kSsimWindow;

// rho(x) = ((beta x)^2 + epsilon^2)^alpha, and factor rho'(x) from the same power.
template <class T> struct Penalty {
  T beta, epsilon2, exponent, factor, factor_v;
  double rho0;

  Penalty(const CharbonnierAttrs& a, double dloss, double dloss_v, int64_t batch)
      : beta(static_cast<T>(a.beta)),
        epsilon2(static_cast<T>(a.epsilon * a.epsilon)),
        exponent(static_cast<T>(a.alpha - 1)),
        rho0(std::pow(a.epsilon, 2 * a.alpha)) {
    const double slope = 2 * a.alpha * a.beta * a.beta / (static_cast<double>(batch) * a.normalizer);
    factor = static_cast<T>(dloss * slope);
    factor_v = static_cast<T>(dloss_v * slope);
  }
};

// A window of SSIM, cut to the image, of up to kPairs pairs of frames: what is known of each pixel.
template <class T> struct Patch {
  int64_t n, i, j, rows, columns, k, pairs;
  T warped[kPixels][kChannels], error[kPixels][kChannels];
  T right[kPixels][kChannels], down[kPixels][kChannels];  // d(warped)/du, d(warped)/dv, per unit of flow
  T dflow[kPixels][2 * kPairs];

  int64_t channels() const { return pairs * kColours; }
  static int64_t pixel(int64_t p, int64_t q) { return p * kSsimWindow + q; }
};

// The losses of one level.
template <class T> class Level {
 public:
  Level(const KernelArgs& args, size_t l)
      : a_(args.attrs<MultiscaleLoss>().levels[l]),
        flow_(args.in[2 * l]),
        images_(args.in[2 * l + 1]),
        dflow_(args.out[MultiscaleLoss::kOutputs * l + MultiscaleLoss::kDflow]),
        pixel_(a_.pixel, a_.dpixel, 0, flow_.N),
        smoothness_(a_.smoothness, a_.dsmooth_u, a_.dsmooth_v, flow_.N) {
    std::copy(ssim_weights().begin(), ssim_weights().end(), weights_.begin());
  }

  using Sums = std::array<double, MultiscaleLoss::kTerms>;

  Sums run() const {
    const int64_t down = ssim_windows(flow_.H), K = flow_.C / 2;
    return sum_rows<MultiscaleLoss::kTerms>(flow_.N * down, flow_.N * flow_.H * flow_.W * flow_.C,
                                            [&](int64_t row) {
                                              Sums sums{};
                                              Patch<T> patch;
                                              patch.n = row / down;
                                              patch.i = row % down * kSsimWindow;
                                              patch.rows = std::min(kSsimWindow, flow_.H - patch.i);
                                              for (patch.j = 0; patch.j < flow_.W; patch.j += kSsimWindow) {
                                                patch.columns = std::min(kSsimWindow, flow_.W - patch.j);
                                                for (patch.k = 0; patch.k < K; patch.k += kPairs) {
                                                  patch.pairs = std::min(kPairs, K - patch.k);
                                                  add_patch(patch, sums);
                                                }
                                              }
                                              return sums;
                                            });
  }

 private:
  void add_patch(Patch<T>& patch, Sums& sums) const {
    smooth(patch, sums);
    if (a_.has_pixel || a_.has_ssim) {
      warp(patch);
      T constant[kChannels] = {}, by_warped[kChannels] = {}, by_error[kChannels] = {};
      if (a_.has_ssim) sums[MultiscaleLoss::kSsim] += compare(patch, constant, by_warped, by_error);
      add_slopes(patch, constant, by_warped, by_error, sums[MultiscaleLoss::kPixel]);
    }
    for (int64_t p = 0; p < patch.rows; ++p) {
      for (int64_t q = 0; q < patch.columns; ++q)
        std::copy_n(patch.dflow[patch.pixel(p, q)], 2 * patch.pairs,
                    &dflow_(patch.n, patch.i + p, patch.j + q, 2 * patch.k));
    }
  }

  // Frame k + 1 where the flow points, its distance from frame k, and its slopes along the flow.
  void warp(Patch<T>& patch) const {
    const T scale = static_cast<T>(a_.flow_scale);
    for (int64_t p = 0; p < patch.rows; ++p) {
      for (int64_t q = 0; q < patch.columns; ++q) {
        const int64_t i = patch.i + p, j = patch.j + q, at = patch.pixel(p, q);
        const T* f = &flow_(patch.n, i, j, 2 * patch.k);
        const T* target = &images_(patch.n, i, j, kColours * patch.k);
        for (int64_t k = 0; k < patch.pairs; ++k) {
          const T x = static_cast<T>(j) + scale * f[2 * k], y = static_cast<T>(i) + scale * f[2 * k + 1];
          const T left = std::floor(x), top = std::floor(y), a = x - left, b = y - top;
          const int64_t column = tap(left), row = tap(top);
          for (int64_t c = k * kColours; c < (k + 1) * kColours; ++c) {
            const int64_t next = kColours * (patch.k + 1) + c;
            auto value = [&](int64_t r, int64_t s) {
              return images_.inside(r, s) ? images_(patch.n, r, s, next) : T(0);
            };
            const T v00 = value(row, column), v01 = value(row, column + 1);
            const T v10 = value(row + 1, column), v11 = value(row + 1, column + 1);
            const T upper = (1 - a) * v00 + a * v01, lower = (1 - a) * v10 + a * v11;
            patch.warped[at][c] = (1 - b) * upper + b * lower;
            patch.error[at][c] = patch.warped[at][c] - target[c];
            patch.right[at][c] = scale * ((1 - b) * (v01 - v00) + b * (v11 - v10));
            patch.down[at][c] = scale * ((1 - a) * (v10 - v00) + a * (v11 - v01));
          }
        }
      }
    }
  }

  // Far outside every tap is outside too; the clamp keeps the conversion defined for any flow, NaN included.
  static int64_t tap(T at) {
    return static_cast<int64_t>(std::clamp<T>(std::isnan(at) ? T(-2) : at, T(-1e9), T(1e9)));
  }

  // SSIM of the window, summed over channels as 1 - lp cs. Its gradient to the warped image is w (constant +
  // by_warped warped + by_error error). With the error's mean and variance no digits are lost where the
  // images are alike (cpu/ssim.cpp).
  double compare(const Patch<T>& patch, T* constant, T* by_warped, T* by_error) const {
    T mx[kChannels] = {}, my[kChannels] = {}, md[kChannels] = {};
    T sxx[kChannels] = {}, syy[kChannels] = {}, sdd[kChannels] = {};
    for (int64_t p = 0; p < patch.rows; ++p) {
      for (int64_t q = 0; q < patch.columns; ++q) {
        const T w = weight(p, q);
        const T *x = patch.warped[patch.pixel(p, q)], *d = patch.error[patch.pixel(p, q)];
        for (int64_t c = 0; c < patch.channels(); ++c) {
          const T y = x[c] - d[c], wx = w * x[c], wy = w * y, wd = w * d[c];
          mx[c] += wx;
          my[c] += wy;
          md[c] += wd;
          sxx[c] += wx * x[c];
          syy[c] += wy * y;
          sdd[c] += wd * d[c];
        }
      }
    }
    const T c1 = static_cast<T>(a_.ssim.c1), c2 = static_cast<T>(a_.ssim.c2);
    const T factor = static_cast<T>(-2 * a_.dssim / static_cast<double>(flow_.N));
    double dissimilarity = 0;
    for (int64_t c = 0; c < patch.channels(); ++c) {
      const T lp_below = mx[c] * mx[c] + my[c] * my[c] + c1;
      const T cs_below = sxx[c] - mx[c] * mx[c] + syy[c] - my[c] * my[c] + c2;
      const T lp_from_1 = md[c] * md[c] / lp_below, cs_from_1 = (sdd[c] - md[c] * md[c]) / cs_below;
      const T slope = factor * (1 - lp_from_1) / cs_below;
      constant[c] = factor * (1 - cs_from_1) * (mx[c] * lp_from_1 - md[c]) / lp_below -
                    slope * (cs_from_1 * mx[c] - md[c]);
      by_warped[c] = slope * cs_from_1;
      by_error[c] = -slope;
      dissimilarity += static_cast<double>(lp_from_1 + (1 - lp_from_1) * cs_from_1);
    }
    return dissimilarity;
  }

  // The photometric term, and what the two gradients to the warped image are to the flow.
  void add_slopes(Patch<T>& patch, const T* constant, const T* by_warped, const T* by_error,
                  double& loss) const {
    for (int64_t p = 0; p < patch.rows; ++p) {
      for (int64_t q = 0; q < patch.columns; ++q) {
        const int64_t at = patch.pixel(p, q);
        const T w = weight(p, q);
        const T *x = patch.warped[at], *d = patch.error[at];
        T slope[kChannels];
        for (int64_t c = 0; c < patch.channels(); ++c)
          slope[c] = w * (constant[c] + by_warped[c] * x[c] + by_error[c] * d[c]);
        if (a_.has_pixel && valid(a_.pixel, patch.i + p, patch.j + q)) {
          T sum = 0;
#pragma omp simd reduction(+ : sum)
          for (int64_t c = 0; c < patch.channels(); ++c) {
            const T z = pixel_.beta * d[c], base = z * z + pixel_.epsilon2;
            const T root = power(base, pixel_.exponent);
            sum += base * root;
            slope[c] += pixel_.factor * d[c] * root;
          }
          loss += static_cast<double>(sum);
        }
        for (int64_t k = 0; k < patch.pairs; ++k) {
          for (int64_t c = k * kColours; c < (k + 1) * kColours; ++c) {
            patch.dflow[at][2 * k] += slope[c] * patch.right[at][c];
            patch.dflow[at][2 * k + 1] += slope[c] * patch.down[at][c];
          }
        }
      }
    }
  }

  bool valid(const CharbonnierAttrs& a, int64_t i, int64_t j) const {
    return i >= a.border_y && i < flow_.H - a.border_y && j >= a.border_x && j < flow_.W - a.border_x;
  }
  T weight(int64_t p, int64_t q) const {
    return weights_[static_cast<size_t>(p)] * weights_[static_cast<size_t>(q)];
  }

  // The smoothness terms and their gradient. Each pixel has a difference to the right and one below; of the
  // pixels left of and above the window the ones that reach into it are worked out again.
  void smooth(Patch<T>& patch, Sums& sums) const {
    for (auto& pixel : patch.dflow) std::fill_n(pixel, 2 * patch.pairs, T(0));
    if (!a_.has_smoothness) return;
    for (int64_t p = -1; p < patch.rows; ++p) {
      for (int64_t q = -1; q < patch.columns; ++q) {
        if (!valid(a_.smoothness, patch.i + p, patch.j + q)) continue;
        if (p >= 0) add_difference(patch, p, q, 0, 1, sums);
        if (q >= 0) add_difference(patch, p, q, 1, 0, sums);
      }
    }
  }

  // Of the pixel (p,q) of the window and the one `down` or `right` of it. rho is even, so its slope at the
  // second is minus that at the first.
  void add_difference(Patch<T>& patch, int64_t p, int64_t q, int64_t down, int64_t right, Sums& sums) const {
    const int64_t i = patch.i + p, j = patch.j + q;
    const bool first = p >= 0 && q >= 0, second = p + down < patch.rows && q + right < patch.columns;
    if (!flow_.inside(i + down, j + right)) {  // set to 0, and counted
      for (size_t term : {MultiscaleLoss::kSmoothU, MultiscaleLoss::kSmoothV})
        sums[term] += static_cast<double>(patch.pairs) * smoothness_.rho0;
      return;
    }
    const T* f = &flow_(patch.n, i, j, 2 * patch.k);
    const T* g = &flow_(patch.n, i + down, j + right, 2 * patch.k);
    T rho[2 * kPairs], slope[2 * kPairs];
#pragma omp simd
    for (int64_t c = 0; c < 2 * patch.pairs; ++c) {
      const T delta = f[c] - g[c], z = smoothness_.beta * delta, base = z * z + smoothness_.epsilon2;
      const T root = power(base, smoothness_.exponent);
      rho[c] = base * root;
      slope[c] = (c % 2 ? smoothness_.factor_v : smoothness_.factor) * delta * root;
    }
    if (first) {
      T* d = patch.dflow[patch.pixel(p, q)];
      T u = 0, v = 0;
      for (int64_t k = 0; k < patch.pairs; ++k) {
        u += rho[2 * k];
        v += rho[2 * k + 1];
      }
      sums[MultiscaleLoss::kSmoothU] += static_cast<double>(u);
      sums[MultiscaleLoss::kSmoothV] += static_cast<double>(v);
      for (int64_t c = 0; c < 2 * patch.pairs; ++c) d[c] += slope[c];
    }
    if (second) {
      T* d = patch.dflow[patch.pixel(p + down, q + right)];
      for (int64_t c = 0; c < 2 * patch.pairs; ++c) d[c] -= slope[c];
    }
  }

  const MultiscaleLevel& a_;
  const View4<const T> flow_, images_;
  const View4<T> dflow_;
  const Penalty<T> pixel_, smoothness_;
  std::array<T, kSsimWindow> weights_;
};

template <class T> void multiscale_loss(const KernelArgs& args) {
  const std::vector<MultiscaleLevel>& levels = args.attrs<MultiscaleLoss>().levels;
  const auto N = static_cast<double>(args.in[0].shape[0]);
  for (size_t l = 0; l < levels.size(); ++l) {
    const auto sums = Level<T>(args, l).run();
    const MultiscaleLevel& a = levels[l];
    const double factors[] = {1 / a.pixel.normalizer, 1 / a.smoothness.normalizer,
                              1 / a.smoothness.normalizer, a.ssim_weight};
    for (size_t term = 0; term < MultiscaleLoss::kTerms; ++term)
      *args.out[MultiscaleLoss::kOutputs * l + term].as<T>() = static_cast<T>(sums[term] * factors[term] / N);
  }
}

}  // namespace

void register_multiscale_loss(Registry& r) {
  add_cpu_kernel(r, MultiscaleLoss::kName, multiscale_loss<float>, multiscale_loss<double>);
}

}  // namespace millrace::cpu
