#include "layers/downsample.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

// Output rows are cut into at most this many runs; each has a scratch row, so scratch does not grow with N.
constexpr int64_t kRuns = 64;

template <class T> struct Taps {
  int64_t first;
  std::vector<T> weights;
};

template <class T> struct TapTables { std::vector<Taps<T>> rows, columns; };

template <class T> std::vector<Taps<T>> taps_as(const std::vector<DownsampleTaps>& taps) {
  std::vector<Taps<T>> result;
  for (const DownsampleTaps& tap : taps) {
    Taps<T> t{tap.first, {}};
    for (double weight : tap.weights) t.weights.push_back(static_cast<T>(weight));
    result.push_back(std::move(t));
  }
  return result;
}

template <class T>
std::optional<Prepared> prepare(const Op&, std::span<const Spec> in, std::span<const Spec> out) {
  const Shape &x = in[0].shape, &y = out[0].shape;
  auto tables = std::make_shared<TapTables<T>>();
  tables->rows = taps_as<T>(downsample_taps(x[1], y[1]));
  tables->columns = taps_as<T>(downsample_taps(x[2], y[2]));
  const int64_t runs = std::min(kRuns, y[0] * y[1]);
  return Prepared{.state = tables,
                  .workspace_bytes = runs * x[2] * x[3] * static_cast<int64_t>(sizeof(T)),
                  .implementation = {}};
}

// The tent is a product of one per axis: down the columns into a scratch row, then along it.
template <class T> void downsample(const KernelArgs& args) {
  const View4<const T> x(args.in[0]);
  const View4<T> y(args.out[0]);
  const auto& tables = *static_cast<const TapTables<T>*>(args.prepared);
  const int64_t rows = y.N * y.H, runs = std::min(kRuns, rows), width = x.W * x.C;
  parallel_rows(runs, args.in[0].count(), [&](int64_t run) {
    T* scratch = static_cast<T*>(args.workspace) + run * width;
    for (int64_t row = rows * run / runs; row < rows * (run + 1) / runs; ++row) {
      const int64_t n = row / y.H, i = row % y.H;
      std::fill(scratch, scratch + width, T(0));
      const Taps<T>& down = tables.rows[static_cast<size_t>(i)];
      for (size_t t = 0; t < down.weights.size(); ++t) {
        const T weight = down.weights[t];
        const T* source = &x(n, down.first + static_cast<int64_t>(t), 0, 0);
        for (int64_t e = 0; e < width; ++e) scratch[e] += weight * source[e];
      }
      for (int64_t j = 0; j < y.W; ++j) {
        T* pixel = &y(n, i, j, 0);
        std::fill(pixel, pixel + y.C, T(0));
        const Taps<T>& along = tables.columns[static_cast<size_t>(j)];
        for (size_t t = 0; t < along.weights.size(); ++t) {
          const T weight = along.weights[t];
          const T* source = scratch + (along.first + static_cast<int64_t>(t)) * x.C;
          for (int64_t c = 0; c < y.C; ++c) pixel[c] += weight * source[c];
        }
      }
    }
  });
}

template <class T> void add_kernel(Registry& r) {
  r.add_kernel({.op = Downsample::kName,
                .device = "cpu",
                .version = "plain",
                .dtype = dtype_of<T>(),
                .run = downsample<T>,
                .prepare = prepare<T>});
}

}  // namespace

void register_downsample(Registry& r) {
  add_kernel<double>(r);
  add_kernel<float>(r);
}

}  // namespace millrace::cpu
