#include "layers/warp.h"

#include <algorithm>
#include <cmath>

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

// The cell that holds one sample point: its first tap and the fractions towards the second.
template <class T> struct Cell {
  int64_t row, column;
  T down, right;

  Cell(int64_t i, int64_t j, T u, T v) {
    const T x = static_cast<T>(j) + u, y = static_cast<T>(i) + v;
    const T left = std::floor(x), top = std::floor(y);
    // Far outside every tap is outside too; the clamp keeps the conversion defined for any flow, NaN
    // included.
    column = static_cast<int64_t>(std::clamp<T>(std::isnan(left) ? T(-2) : left, T(-1e9), T(1e9)));
    row = static_cast<int64_t>(std::clamp<T>(std::isnan(top) ? T(-2) : top, T(-1e9), T(1e9)));
    right = x - left;
    down = y - top;
  }
};

template <class T> void warp(const KernelArgs& args) {
  const View4<const T> image(args.in[0]), flow(args.in[1]);
  const View4<T> y(args.out[0]);
  const int64_t K = flow.C / 2, C = image.C / K;
  parallel_rows(y.N * y.H, args.out[0].count(), [&](int64_t row) {
    const int64_t n = row / y.H, i = row % y.H;
    for (int64_t j = 0; j < y.W; ++j) {
      for (int64_t k = 0; k < K; ++k) {
        const Cell<T> at(i, j, flow(n, i, j, 2 * k), flow(n, i, j, 2 * k + 1));
        for (int64_t c = k * C; c < k * C + C; ++c) {
          auto tap = [&](int64_t p, int64_t q) { return image.inside(p, q) ? image(n, p, q, c) : T(0); };
          const T top = (1 - at.right) * tap(at.row, at.column) + at.right * tap(at.row, at.column + 1);
          const T bottom =
              (1 - at.right) * tap(at.row + 1, at.column) + at.right * tap(at.row + 1, at.column + 1);
          y(n, i, j, c) = (1 - at.down) * top + at.down * bottom;
        }
      }
    }
  });
}

template <class T> void warp_dflow(const KernelArgs& args) {
  const View4<const T> dy(args.in[0]), image(args.in[1]), flow(args.in[2]);
  const View4<T> dflow(args.out[0]);
  const int64_t K = flow.C / 2, C = image.C / K;
  parallel_rows(dy.N * dy.H, args.in[0].count(), [&](int64_t row) {
    const int64_t n = row / dy.H, i = row % dy.H;
    for (int64_t j = 0; j < dy.W; ++j) {
      for (int64_t k = 0; k < K; ++k) {
        const Cell<T> at(i, j, flow(n, i, j, 2 * k), flow(n, i, j, 2 * k + 1));
        T du = 0, dv = 0;
        for (int64_t c = k * C; c < k * C + C; ++c) {
          auto tap = [&](int64_t p, int64_t q) { return image.inside(p, q) ? image(n, p, q, c) : T(0); };
          const T a = tap(at.row, at.column), b = tap(at.row, at.column + 1);
          const T d = tap(at.row + 1, at.column), e = tap(at.row + 1, at.column + 1);
          du += dy(n, i, j, c) * ((1 - at.down) * (b - a) + at.down * (e - d));
          dv += dy(n, i, j, c) * ((1 - at.right) * (d - a) + at.right * (e - b));
        }
        dflow(n, i, j, 2 * k) = du;
        dflow(n, i, j, 2 * k + 1) = dv;
      }
    }
  });
}

template <class T> void warp_dimage(const KernelArgs& args) {
  const View4<const T> dy(args.in[0]), flow(args.in[1]);
  const View4<T> dimage(args.out[0]);
  const int64_t K = flow.C / 2, C = dy.C / K;
  // One thread per image and flow: no two threads meet in one element.
  parallel_rows(dy.N * K, args.in[0].count(), [&](int64_t task) {
    const int64_t n = task / K, k = task % K;
    for (int64_t i = 0; i < dy.H; ++i) {
      for (int64_t j = 0; j < dy.W; ++j) {
        for (int64_t c = k * C; c < k * C + C; ++c) dimage(n, i, j, c) = 0;
      }
    }
    for (int64_t i = 0; i < dy.H; ++i) {
      for (int64_t j = 0; j < dy.W; ++j) {
        const Cell<T> at(i, j, flow(n, i, j, 2 * k), flow(n, i, j, 2 * k + 1));
        for (int64_t tap = 0; tap < 4; ++tap) {
          const int64_t p = at.row + tap / 2, q = at.column + tap % 2;
          if (!dimage.inside(p, q)) continue;
          const T weight = (tap / 2 ? at.down : 1 - at.down) * (tap % 2 ? at.right : 1 - at.right);
          for (int64_t c = k * C; c < k * C + C; ++c) dimage(n, p, q, c) += weight * dy(n, i, j, c);
        }
      }
    }
  });
}

}  // namespace

void register_warp(Registry& r) {
  add_cpu_kernel(r, Warp::kName, warp<float>, warp<double>);
  add_cpu_kernel(r, WarpDflow::kName, warp_dflow<float>, warp_dflow<double>);
  add_cpu_kernel(r, WarpDimage::kName, warp_dimage<float>, warp_dimage<double>);
}

}  // namespace millrace::cpu
