#include "layers/max_pool.h"

#include <algorithm>
#include <limits>

#include "core/follow.h"
#include "core/layout.h"
#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> constexpr T kLowest = -std::numeric_limits<T>::infinity();

// Blocked by channels, each block is an image of its own: pooling knows nothing of channels.
Tensor as_images(const Tensor& t, int64_t block) {
  if (block == 0) return t;
  const Shape& s = t.shape;
  return {t.data, {s[0] * ((s[3] + block - 1) / block), s[1], s[2], block}, t.dtype};
}

std::optional<Prepared> follow(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  const auto found =
      std::find_if(in.begin(), in.end(), [](const Spec& s) { return channel_block(s.layout) > 0; });
  if (found == in.end()) return {};
  return following(channel_block(found->layout), {std::vector(in.size(), found->layout), {found->layout}});
}

template <class T> void max_pool(const KernelArgs& args) {
  const int64_t block = number_or(args, 0);
  const View4<const T> x(as_images(args.in[0], block));
  const View4<T> y(as_images(args.out[0], block));
  const PoolWindows windows = pool_windows(args.attrs<MaxPool>(), x.H, x.W);
  parallel_rows(y.N * y.H, args.in[0].count(), [&](int64_t row) {
    const int64_t n = row / y.H, o = row % y.H;
    const PoolAxis::Range rows = windows.rows.window(static_cast<int>(o));
    for (int64_t r = 0; r < y.W; ++r) {
      const PoolAxis::Range columns = windows.columns.window(static_cast<int>(r));
      T* largest = &y(n, o, r, 0);
      std::fill_n(largest, y.C, kLowest<T>);
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        for (int64_t j = columns.begin; j < columns.end; ++j) {
          const T* values = &x(n, i, j, 0);
#pragma omp simd
          for (int64_t c = 0; c < y.C; ++c)
            largest[c] = exceeds(values[c], largest[c]) ? values[c] : largest[c];
        }
      }
    }
  });
}

constexpr int64_t kLanes = 16;  // channels of a window that are looked at together

// dx += of one window, for `lanes` channels from c on: dy where the first maximum is.
template <class T> void add_window(const View4<const T>& x, const View4<T>& dx, int64_t n, int64_t c,
                                   int64_t lanes, const PoolAxis::Range& rows, const PoolAxis::Range& columns,
                                   const T* dy) {
  T largest[kLanes];
  int place[kLanes];  // of the maximum, in the order of the window
  std::copy_n(&x(n, rows.begin, columns.begin, c), lanes, largest);
  std::fill_n(place, lanes, 0);
  int at = 0;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    for (int64_t j = columns.begin; j < columns.end; ++j, ++at) {
      const T* values = &x(n, i, j, c);
#pragma omp simd
      for (int64_t k = 0; k < lanes; ++k) {
        const bool more = exceeds(values[k], largest[k]);
        largest[k] = more ? values[k] : largest[k];
        place[k] = more ? at : place[k];
      }
    }
  }
  at = 0;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    for (int64_t j = columns.begin; j < columns.end; ++j, ++at) {
      T* sums = &dx(n, i, j, c);
#pragma omp simd
      for (int64_t k = 0; k < lanes; ++k) sums[k] += place[k] == at ? dy[k] : T(0);
    }
  }
}

// One thread per image, or per block of an image's channels: no two threads meet in one element, and each
// element's sum is in the order of the windows.
template <class T> void max_pool_dx(const KernelArgs& args) {
  const int64_t block = number_or(args, 0);
  const View4<const T> dy(as_images(args.in[0], block)), x(as_images(args.in[1], block));
  const View4<T> dx(as_images(args.out[0], block));
  const PoolWindows windows = pool_windows(args.attrs<MaxPoolDx>(), x.H, x.W);
  parallel_rows(x.N, args.in[1].count(), [&](int64_t n) {
    std::fill_n(&dx(n, 0, 0, 0), x.H * x.W * x.C, T(0));
    for (int64_t o = 0; o < dy.H; ++o) {
      const PoolAxis::Range rows = windows.rows.window(static_cast<int>(o));
      for (int64_t r = 0; r < dy.W; ++r) {
        const PoolAxis::Range columns = windows.columns.window(static_cast<int>(r));
        for (int64_t c = 0; c < x.C; c += kLanes)
          add_window(x, dx, n, c, std::min(kLanes, x.C - c), rows, columns, &dy(n, o, r, c));
      }
    }
  });
}

}  // namespace

void register_max_pool(Registry& r) {
  add_cpu_kernel(r, MaxPool::kName, max_pool<float>, max_pool<double>, follow);
  add_cpu_kernel(r, MaxPoolDx::kName, max_pool_dx<float>, max_pool_dx<double>, follow);
}

}  // namespace millrace::cpu
