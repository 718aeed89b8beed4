#include "losses/ssim.h"

#include <algorithm>

#include "cpu/reduce.h"

namespace millrace::cpu {
namespace {

constexpr int64_t kBlock = 32;  // channels at a time, so that sums lie in registers and near memory

// A window cut to the image, and up to kBlock channels of it.
template <class T> struct Window {
  int64_t n, i, j, rows, columns, c, channels;
  std::array<T, kSsimWindow> weights;

  T weight(int64_t p, int64_t q) const {
    return weights[static_cast<size_t>(p)] * weights[static_cast<size_t>(q)];
  }
};

// What follows from a window's weighted sums, per channel of the block. The factors are near 1 where the
// images are alike, so it is their distance from 1 that is computed: with d = x - y, 1 - lp = md^2 / lp_below
// and 1 - cs = sdd / cs_below lose no digits, and are 0 for equal images.
template <class T> struct Statistics {
  T mx[kBlock] = {}, my[kBlock] = {}, md[kBlock] = {}, sxx[kBlock] = {}, syy[kBlock] = {}, sdd[kBlock] = {};
  T lp_below[kBlock], cs_below[kBlock];    // denominators
  T lp_from_1[kBlock], cs_from_1[kBlock];  // 1 - lp, 1 - cs

  Statistics(const View4<const T>& x, const View4<const T>& y, const Window<T>& at, const SsimAttrs& a) {
    for (int64_t p = 0; p < at.rows; ++p) {
      for (int64_t q = 0; q < at.columns; ++q) {
        const T w = at.weight(p, q);
        const T* xp = &x(at.n, at.i + p, at.j + q, at.c);
        const T* yp = &y(at.n, at.i + p, at.j + q, at.c);
        for (int64_t c = 0; c < at.channels; ++c) {
          const T d = xp[c] - yp[c], wx = w * xp[c], wy = w * yp[c], wd = w * d;
          mx[c] += wx;
          my[c] += wy;
          md[c] += wd;
          sxx[c] += wx * xp[c];
          syy[c] += wy * yp[c];
          sdd[c] += wd * d;
        }
      }
    }
    const T c1 = static_cast<T>(a.c1), c2 = static_cast<T>(a.c2);
    for (int64_t c = 0; c < at.channels; ++c) {
      sxx[c] -= mx[c] * mx[c];
      syy[c] -= my[c] * my[c];
      sdd[c] -= md[c] * md[c];
      lp_below[c] = mx[c] * mx[c] + my[c] * my[c] + c1;
      cs_below[c] = sxx[c] + syy[c] + c2;
      lp_from_1[c] = md[c] * md[c] / lp_below[c];
      cs_from_1[c] = sdd[c] / cs_below[c];
    }
  }
};

// Calls f(window) for all windows of one row of windows; row counts over images.
template <class T, class F> void for_windows(const View4<const T>& x, int64_t row, const F& f) {
  const int64_t down = ssim_windows(x.H);
  Window<T> at{};
  std::copy(ssim_weights().begin(), ssim_weights().end(), at.weights.begin());
  at.n = row / down;
  at.i = row % down * kSsimWindow;
  at.rows = std::min(kSsimWindow, x.H - at.i);
  for (at.j = 0; at.j < x.W; at.j += kSsimWindow) {
    at.columns = std::min(kSsimWindow, x.W - at.j);
    for (at.c = 0; at.c < x.C; at.c += kBlock) {
      at.channels = std::min(kBlock, x.C - at.c);
      f(at);
    }
  }
}

template <class T> void ssim(const KernelArgs& args) {
  const SsimAttrs& a = args.attrs<Ssim>();
  const View4<const T> x(args.in[0]), y(args.in[1]);
  const auto [sum] = sum_rows<1>(x.N * ssim_windows(x.H), args.in[0].count(), [&](int64_t row) {
    double dissimilarity = 0;
    for_windows(x, row, [&](const Window<T>& at) {
      const Statistics<T> s(x, y, at, a);
      for (int64_t c = 0; c < at.channels; ++c) {  // 1 - lp cs
        dissimilarity += static_cast<double>(s.lp_from_1[c] + (1 - s.lp_from_1[c]) * s.cs_from_1[c]);
      }
    });
    return std::array{dissimilarity};
  });
  *args.out[0].as<T>() = static_cast<T>(sum / static_cast<double>(x.N));
}

template <class T> void ssim_dx(const KernelArgs& args) {
  const SsimAttrs& a = args.attrs<SsimDx>();
  const View4<const T> x(args.in[1]), y(args.in[2]);
  const View4<T> dx(args.out[0]);
  const T factor = static_cast<T>(-2 * static_cast<double>(*args.in[0].as<T>()) / static_cast<double>(x.N));
  parallel_rows(x.N * ssim_windows(x.H), args.in[1].count(), [&](int64_t row) {
    for_windows(x, row, [&](const Window<T>& at) {
      const Statistics<T> s(x, y, at, a);
      // dx = w (constant + slope ((1 - cs) x - d))
      T constant[kBlock], slope[kBlock];
      for (int64_t c = 0; c < at.channels; ++c) {
        const T lp = 1 - s.lp_from_1[c], cs = 1 - s.cs_from_1[c];
        slope[c] = factor * lp / s.cs_below[c];
        constant[c] = factor * cs * (s.mx[c] * s.lp_from_1[c] - s.md[c]) / s.lp_below[c] -
                      slope[c] * (s.cs_from_1[c] * s.mx[c] - s.md[c]);
      }
      for (int64_t p = 0; p < at.rows; ++p) {
        for (int64_t q = 0; q < at.columns; ++q) {
          const T w = at.weight(p, q);
          const T* xp = &x(at.n, at.i + p, at.j + q, at.c);
          const T* yp = &y(at.n, at.i + p, at.j + q, at.c);
          T* dxp = &dx(at.n, at.i + p, at.j + q, at.c);
          for (int64_t c = 0; c < at.channels; ++c) {
            dxp[c] = w * (constant[c] + slope[c] * (s.cs_from_1[c] * xp[c] - (xp[c] - yp[c])));
          }
        }
      }
    });
  });
}

}  // namespace

void register_ssim(Registry& r) {
  add_cpu_kernel(r, Ssim::kName, ssim<float>, ssim<double>);
  add_cpu_kernel(r, SsimDx::kName, ssim_dx<float>, ssim_dx<double>);
}

}  // namespace millrace::cpu
