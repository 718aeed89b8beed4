#include "cuda/divide.cuh"
#include "cuda/numbers.cuh"
#include "cuda/op.cuh"
#include "layers/flow_to_input.h"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

using Formula = FlowToInputFormula<float>;

// What continues an axis of `extent` numbers beyond its ends.
template <class Int> __device__ Int nearest(Int k, Int extent) {
  return k < 0 ? 0 : k >= extent ? extent - 1 : k;
}

// plain. One thread per element of y, neighbours along channels, then columns: y is written in whole lines.
// Four taps a thread, each normalised anew. Bytes per output: 1 of x (16 from the caches), 4 written (2 as
// bf16).
template <class T> __global__ void __launch_bounds__(kBlock)
    input_elements(View4<const float> x, View4<T> y, Formula normalise, float shift, bool replicate) {
  const int64_t element = global_thread();
  if (element >= y.N * y.H * y.W * y.C) return;
  const int64_t c = element % y.C, j = element / y.C % y.W, i = element / y.C / y.W % y.H;
  const int64_t n = element / y.C / y.W / y.H;
  const int64_t near_row = i / 2, far_row = i % 2 ? near_row + 1 : near_row - 1;
  const int64_t near_column = j / 2, far_column = j % 2 ? near_column + 1 : near_column - 1;
  const auto z = [&](int64_t p, int64_t q) {
    if (replicate) p = nearest(p, x.H), q = nearest(q, x.W);
    return x.inside(p, q) ? normalise(x(n, p, q, c)) : 0.0f;
  };
  const float near = .75f * z(near_row, near_column) + .25f * z(near_row, far_column);
  const float far = .75f * z(far_row, near_column) + .25f * z(far_row, far_column);
  y.data[element] = from_float<T>(.75f * near + .25f * far - shift);
}

// The extents of x in 32 bits.
struct Extents {
  int N, H, W, C;

  explicit Extents(const Shape& x)
      : N(static_cast<int>(x[0])),
        H(static_cast<int>(x[1])),
        W(static_cast<int>(x[2])),
        C(static_cast<int>(x[3])) {}
};

struct Place {
  int n, i, j, group;
};

// The threads of each image: rows by columns, of as many threads as there are groups of channels. Thread
// ((n rows + i) columns + j) groups + group.
struct ThreadGrid {
  int threads;
  Divisor by_rows, by_columns, by_groups;

  ThreadGrid(int images, int rows, int columns, int groups)
      : threads(images * rows * columns * groups), by_rows(rows), by_columns(columns), by_groups(groups) {}

  __device__ Place place(int t) const {
    const int pixel = by_groups.quotient(t), row = by_columns.quotient(pixel), n = by_rows.quotient(row);
    return {n, by_rows.remainder(row, n), by_columns.remainder(pixel, row), by_groups.remainder(t, pixel)};
  }
};

// cells. Four neighbours of y, rows 2i + 1 and 2i + 2 and columns 2j + 1 and 2j + 2, have the same four taps:
// z at i, i + 1 and j, j + 1. One thread per such cell and kLanes channels, i from -1 to H - 1, j from -1 to
// W - 1, loads and normalises each tap once, which is a quarter of `plain`'s loads, and moves kLanes channels
// at a time. No load waits behind a branch: taps outside are moved to the border, and made zero afterwards
// where it is not replicated. What a row of taps gives to two columns is computed once for both rows of y.
// Bytes per output: 1 of x (4 from the caches), 4 written (2 as bf16). Machine instructions of 4 channels on
// sm_90, counted without `replicate`: 422, of which 112 only quantise; the others are 3.9 per byte (430
// and 6.6 as bf16, which has fewer bytes to write).
template <int kLanes, class T> __global__ void __launch_bounds__(kBlock)
    input_cells(const float* __restrict__ x, T* __restrict__ y, Extents e, ThreadGrid cells,
                Formula normalise, float shift, bool replicate) {
  const int t = static_cast<int>(global_thread());
  if (t >= cells.threads) return;
  const Place at = cells.place(t);
  const int i = at.i - 1, j = at.j - 1, c = at.group * kLanes;

  const int rows[2] = {max(i, 0), min(i + 1, e.H - 1)}, columns[2] = {max(j, 0), min(j + 1, e.W - 1)};
  Floats<kLanes> taps[2][2];
#pragma unroll
  for (int k = 0; k < 4; ++k)
    taps[k / 2][k % 2] =
        load_floats<kLanes>(x + ((at.n * e.H + rows[k / 2]) * e.W + columns[k % 2]) * e.C + c);

  const bool row_inside[2] = {i >= 0, i + 1 < e.H}, column_inside[2] = {j >= 0, j + 1 < e.W};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const bool inside = replicate || (row_inside[k / 2] && column_inside[k % 2]);
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      float& tap = taps[k / 2][k % 2][lane];
      const float z = normalise(tap);
      tap = inside ? z : 0.0f;
    }
  }

  // Of each row of taps, what it gives to the columns of y.
  Floats<kLanes> sums[2][2];
#pragma unroll
  for (int k = 0; k < 4; ++k)
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane)
      sums[k / 2][k % 2][lane] = .75f * taps[k / 2][k % 2][lane] + .25f * taps[k / 2][1 - k % 2][lane];

  const int first = ((at.n * 2 * e.H + 2 * i + 1) * 2 * e.W + 2 * j + 1) * e.C + c;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int a = k / 2, b = k % 2;
    if (!row_inside[a] || !column_inside[b]) continue;
    Floats<kLanes> result;
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane)
      result[lane] = .75f * sums[a][b][lane] + .25f * sums[1 - a][b][lane] - shift;
    store_floats(y + first + (a * 2 * e.W + b) * e.C, result);
  }
}

// plain. One thread per element of dx, which adds its sixteen taps. Bytes per output: 16 of dy (8 as bf16;
// four times that from the caches), 4 of x, 4 written.
template <class T> __global__ void __launch_bounds__(kBlock)
    input_dx_elements(View4<const T> dy, View4<const float> x, View4<float> dx, Formula normalise,
                      bool replicate) {
  const int64_t element = global_thread();
  if (element >= x.N * x.H * x.W * x.C) return;
  const int64_t c = element % x.C, j = element / x.C % x.W, i = element / x.C / x.W % x.H;
  const int64_t n = element / x.C / x.W / x.H;
  float sum = 0;
  for (int a = 0; a < 4; ++a) {
    for (int b = 0; b < 4; ++b) {
      int64_t p = 2 * i - 1 + a, q = 2 * j - 1 + b;
      if (replicate) p = nearest(p, dy.H), q = nearest(q, dy.W);
      const float weight = (a == 0 || a == 3 ? .25f : .75f) * (b == 0 || b == 3 ? .25f : .75f);
      if (dy.inside(p, q)) sum += weight * to_float(dy(n, p, q, c));
    }
  }
  dx.data[element] = normalise.slope(x.data[element]) * sum;
}

constexpr int kStrip = 4;

// strips. One thread per kLanes channels of kStrip pixels below each other. Interpolation is one of rows and
// one of columns: the thread adds four columns of a row of dy, and of those sums four rows; going down, it
// keeps the last two sums, so a pixel takes 10 loads where `plain` takes 16, each of kLanes channels.
// Bytes per output: 16 of dy (8 as bf16; 2.5 times that from the caches), 4 of x, 4 written. Machine
// instructions of 4 channels on sm_90, counted without `replicate`: 711, 1.9 per byte (977 and 3.8 as bf16).
template <int kLanes, class T> __global__ void __launch_bounds__(kBlock)
    input_dx_strips(const T* __restrict__ dy, const float* __restrict__ x, float* __restrict__ dx, Extents e,
                    ThreadGrid strips, Formula normalise, bool replicate) {
  const int t = static_cast<int>(global_thread());
  if (t >= strips.threads) return;
  const Place place = strips.place(t);
  const int n = place.n, first = place.i * kStrip, j = place.j, c = place.group * kLanes;

  const int row = 2 * e.W * e.C, corner = n * 2 * e.H * row + c;

  // Row p of dy, its columns 2j - 1 ... 2j + 2 weighed and added.
  const auto row_sum = [&](int p) {
    Floats<kLanes> sum{};
    if (replicate) p = nearest(p, 2 * e.H);
    if (p < 0 || p >= 2 * e.H) return sum;
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      int q = 2 * j - 1 + b;
      if (replicate) q = nearest(q, 2 * e.W);
      if (q < 0 || q >= 2 * e.W) continue;
      const Floats<kLanes> d = load_floats<kLanes>(dy + (corner + p * row + q * e.C));
#pragma unroll
      for (int lane = 0; lane < kLanes; ++lane) sum[lane] += (b == 0 || b == 3 ? .25f : .75f) * d[lane];
    }
    return sum;
  };

  Floats<kLanes> above = row_sum(2 * first - 1), upper = row_sum(2 * first);
#pragma unroll
  for (int k = 0; k < kStrip; ++k) {
    const int i = first + k;
    if (i >= e.H) return;
    const Floats<kLanes> lower = row_sum(2 * i + 1), below = row_sum(2 * i + 2);
    const int at = ((n * e.H + i) * e.W + j) * e.C + c;
    const Floats<kLanes> flow = load_floats<kLanes>(x + at);
    Floats<kLanes> result;
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      const float sum = .25f * (above[lane] + below[lane]) + .75f * (upper[lane] + lower[lane]);
      result[lane] = normalise.slope(flow[lane]) * sum;
    }
    store_floats(dx + at, result);
    above = lower;
    upper = below;
  }
}

template <class T> void input_plain(const KernelArgs& args) {
  const FlowToInputAttrs& a = args.attrs<FlowToInput>();
  launch(input_elements<T>, {.grid = blocks_for(args.out[0].count(), kBlock), .block = kBlock}, args.stream,
         args.in[0], args.out[0], Formula(a), static_cast<float>(a.shift), a.replicate);
}

template <class T> void input_by_cells(const KernelArgs& args) {
  const FlowToInputAttrs& a = args.attrs<FlowToInput>();
  const Extents e(args.in[0].shape);
  const auto run = [&]<int kLanes>() {
    const ThreadGrid cells(e.N, e.H + 1, e.W + 1, e.C / kLanes);
    launch(input_cells<kLanes, T>, {.grid = blocks_for(cells.threads, kBlock), .block = kBlock}, args.stream,
           args.in[0].as<float>(), args.out[0].as<T>(), e, cells, Formula(a), static_cast<float>(a.shift),
           a.replicate);
  };
  e.C % 4 == 0 ? run.template operator()<4>() : run.template operator()<2>();
}

template <class T> void input_dx_plain(const KernelArgs& args) {
  launch(input_dx_elements<T>, {.grid = blocks_for(args.out[0].count(), kBlock), .block = kBlock},
         args.stream, args.in[0], args.in[1], args.out[0], Formula(args.attrs<FlowToInputDx>()),
         args.attrs<FlowToInputDx>().replicate);
}

template <class T> void input_dx_by_strips(const KernelArgs& args) {
  const Extents e(args.in[1].shape);
  const auto run = [&]<int kLanes>() {
    const ThreadGrid strips(e.N, (e.H + kStrip - 1) / kStrip, e.W, e.C / kLanes);
    launch(input_dx_strips<kLanes, T>, {.grid = blocks_for(strips.threads, kBlock), .block = kBlock},
           args.stream, args.in[0].as<T>(), args.in[1].as<float>(), args.out[0].as<float>(), e, strips,
           Formula(args.attrs<FlowToInputDx>()), args.attrs<FlowToInputDx>().replicate);
  };
  e.C % 4 == 0 ? run.template operator()<4>() : run.template operator()<2>();
}

// Channels in twos or fours, and numbers of elements in 32 bits.
std::optional<Prepared> prepare_vectors(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  const Shape& x = in.back().shape;
  constexpr int64_t kMost = int64_t{1} << 31;
  if (x[3] % 2 != 0 || 4 * x[0] * (x[1] + 1) * (x[2] + 1) * x[3] >= kMost) return {};
  return Prepared{};
}

template <class T> void add_rungs(Registry& r) {
  constexpr Dtype kDtype = dtype_of<T>();
  add_cuda_kernel(r, {.op = FlowToInput::kName, .dtype = kDtype, .run = input_plain<T>});
  add_cuda_kernel(r, {.op = FlowToInput::kName,
                      .version = "cells",
                      .dtype = kDtype,
                      .run = input_by_cells<T>,
                      .prepare = prepare_vectors,
                      .preference = 1});
  add_cuda_kernel(r, {.op = FlowToInputDx::kName, .dtype = kDtype, .run = input_dx_plain<T>});
  add_cuda_kernel(r, {.op = FlowToInputDx::kName,
                      .version = "strips",
                      .dtype = kDtype,
                      .run = input_dx_by_strips<T>,
                      .prepare = prepare_vectors,
                      .preference = 1});
}

}  // namespace

void register_flow_to_input(Registry& r) {
  add_rungs<float>(r);
  add_rungs<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
