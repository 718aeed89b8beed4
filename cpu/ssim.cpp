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

// Weighted means and second moments, and what follows from them, per channel of the block.
template <class T> struct Statistics {
  T mx[kBlock] = {}, my[kBlock] = {}, sxx[kBlock] = {}, syy[kBlock] = {}, sxy[kBlock] = {};
  T lp[kBlock], cs[kBlock], lp_below[kBlock], cs_below[kBlock];  // the factors and their denominators

  Statistics(const View4<const T>& x, const View4<const T>& y, const Window<T>& at, const SsimAttrs& a) {
    for (int64_t p = 0; p < at.rows; ++p) {
      for (int64_t q = 0; q < at.columns; ++q) {
        const T w = at.weight(p, q);
        const T* xp = &x(at.n, at.i + p, at.j + q, at.c);
        const T* yp = &y(at.n, at.i + p, at.j + q, at.c);
        for (int64_t c = 0; c < at.channels; ++c) {
          const T wx = w * xp[c], wy = w * yp[c];
          mx[c] += wx;
          my[c] += wy;
          sxx[c] += wx * xp[c];
          syy[c] += wy * yp[c];
          sxy[c] += wx * yp[c];
        }
      }
    }
    const T c1 = static_cast<T>(a.c1), c2 = static_cast<T>(a.c2);
    for (int64_t c = 0; c < at.channels; ++c) {
      sxx[c] -= mx[c] * mx[c];
      syy[c] -= my[c] * my[c];
      sxy[c] -= mx[c] * my[c];
      lp_below[c] = mx[c] * mx[c] + my[c] * my[c] + c1;
      cs_below[c] = sxx[c] + syy[c] + c2;
      lp[c] = (2 * mx[c] * my[c] + c1) / lp_below[c];
      cs[c] = (2 * sxy[c] + c2) / cs_below[c];
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
      for (int64_t c = 0; c < at.channels; ++c) dissimilarity += static_cast<double>(1 - s.lp[c] * s.cs[c]);
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
      // dx = w (constant + of_y y - of_x x)
      T constant[kBlock], of_x[kBlock], of_y[kBlock];
      for (int64_t c = 0; c < at.channels; ++c) {
        of_y[c] = factor * s.lp[c] / s.cs_below[c];
        of_x[c] = of_y[c] * s.cs[c];
        constant[c] = factor * s.cs[c] * (s.my[c] - s.mx[c] * s.lp[c]) / s.lp_below[c] - of_y[c] * s.my[c] +
                      of_x[c] * s.mx[c];
      }
      for (int64_t p = 0; p < at.rows; ++p) {
        for (int64_t q = 0; q < at.columns; ++q) {
          const T w = at.weight(p, q);
          const T* xp = &x(at.n, at.i + p, at.j + q, at.c);
          const T* yp = &y(at.n, at.i + p, at.j + q, at.c);
          T* dxp = &dx(at.n, at.i + p, at.j + q, at.c);
          for (int64_t c = 0; c < at.channels; ++c) {
            dxp[c] = w * (constant[c] + of_y[c] * yp[c] - of_x[c] * xp[c]);
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
