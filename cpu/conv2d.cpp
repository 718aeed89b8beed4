#include "layers/conv2d.h"

#include <algorithm>

#include "cpu/follow.h"
#include "cpu/parallel.h"
#include "cpu/versions.h"
#include "layers/leaky_relu.h"

namespace millrace::cpu {
namespace {

// w(o,p,q,c): weights under the indices of the equations.
template <class T> struct Weights {
  T* data;
  int64_t O, P, Q, I;
  Weights(const Tensor& t) : data(t.as<T>()), O(t.shape[0]), P(t.shape[1]), Q(t.shape[2]), I(t.shape[3]) {}
  T& operator()(int64_t o, int64_t p, int64_t q, int64_t c) const {
    return data[((o * P + p) * Q + q) * I + c];
  }
};

template <class T> void conv2d(const KernelArgs& args) {
  const auto& a = args.attrs<Conv2d>();
  const View4<const T> x(args.in[0]);
  const Weights<const T> w(args.in[1]);
  const T* b = args.in.size() == 3 ? args.in[2].as<T>() : nullptr;
  const View4<T> y(args.out[0]);
  parallel_rows(y.N * y.H, args.out[0].count() * w.I, [&](int64_t row) {
    const int64_t n = row / y.H, i = row % y.H;
    for (int64_t j = 0; j < y.W; ++j) {
      for (int64_t o = 0; o < y.C; ++o) {
        T sum = b ? b[o] : T(0);
        for (int64_t p = 0; p < w.P; ++p) {
          for (int64_t q = 0; q < w.Q; ++q) {
            const int64_t xi = i * a.stride - a.pad + p, xj = j * a.stride - a.pad + q;
            if (!x.inside(xi, xj)) continue;
            for (int64_t c = 0; c < w.I; ++c) sum += x(n, xi, xj, c) * w(o, p, q, c);
          }
        }
        y(n, i, j, o) = sum > 0 ? sum : static_cast<T>(a.negative_slope) * sum;
      }
    }
  });
}

// Rows are summed in chunks of fixed size, whose sums are added in order: the result does not depend on the
// threads.
constexpr int64_t kChunk = 1024;

template <class T> void sum_rows(const T* rows, int64_t count, int64_t C, T* sum) {
  std::fill(sum, sum + C, T(0));
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t c = 0; c < C; ++c) sum[c] += rows[row * C + c];
  }
}

// sum(c) = sum of channel c over all pixels. `partial`: with_partial_sums() says how much.
template <class T> void sum_channels(const T* x, const Planes& p, T* partial, T* sum) {
  const int64_t chunks = (p.pixels + kChunk - 1) / kChunk, planes = p.images * p.blocks, block = p.block;
  parallel_rows(planes * chunks, p.count(), [=](int64_t k) {
    const int64_t first = k % chunks * kChunk;
    sum_rows(x + (k / chunks * p.pixels + first) * block, std::min(kChunk, p.pixels - first), block,
             partial + k * block);
  });
  std::fill(sum, sum + p.channels, T(0));
  for (int64_t k = 0; k < planes * chunks; ++k) {
    const int64_t b = k / chunks % p.blocks;
    for (int64_t c = 0; c < p.width(b); ++c) sum[b * block + c] += partial[k * block + c];
  }
}

template <class T> Prepared with_partial_sums(Prepared prepared, const Planes& p) {
  prepared.workspace_bytes =
      p.images * p.blocks * ((p.pixels + kChunk - 1) / kChunk) * p.block * static_cast<int64_t>(sizeof(T));
  return prepared;
}

template <class T> void conv2d_dx(const KernelArgs& args) {
  const auto& a = args.attrs<Conv2dDx>();
  const View4<const T> dy(args.in[0]);
  const Weights<const T> w(args.in[1]);
  const View4<T> dx(args.out[0]);
  const T* addend = a.add ? args.in[2].as<T>() : nullptr;
  const T* y = a.negative_slope != 1 ? args.in.back().as<T>() : nullptr;
  const LeakyReluDxFormula<T> leaky_dx{static_cast<T>(a.negative_slope)};
  parallel_rows(dx.N * dx.H, args.out[0].count() * w.O, [&](int64_t row) {
    const int64_t n = row / dx.H, i = row % dx.H;
    for (int64_t j = 0; j < dx.W; ++j) {
      for (int64_t c = 0; c < dx.C; ++c) dx(n, i, j, c) = 0;
      for (int64_t p = 0; p < w.P; ++p) {
        for (int64_t q = 0; q < w.Q; ++q) {
          const int64_t ni = i + a.pad - p, nj = j + a.pad - q;  // i' s and j' s
          if (ni % a.stride != 0 || nj % a.stride != 0 || !dy.inside(ni / a.stride, nj / a.stride) ||
              ni < 0 || nj < 0) {
            continue;
          }
          for (int64_t o = 0; o < w.O; ++o) {
            const T d = dy(n, ni / a.stride, nj / a.stride, o);
            for (int64_t c = 0; c < dx.C; ++c) dx(n, i, j, c) += d * w(o, p, q, c);
          }
        }
      }
      for (int64_t k = (row * dx.W + j) * dx.C; k < (row * dx.W + j + 1) * dx.C; ++k) {
        if (addend) dx.data[k] = addend[k] + dx.data[k];
        if (y) dx.data[k] = leaky_dx(dx.data[k], y[k]);
      }
    }
  });
  if (a.sum)
    sum_channels(dx.data, Planes(args.out[0].shape, 0), static_cast<T*>(args.workspace), args.out[1].as<T>());
}

template <class T>
std::optional<Prepared> prepare_conv2d_dx(const Op& op, std::span<const Spec>, std::span<const Spec> out) {
  if (!static_cast<const Conv2dDx&>(op).attrs.sum) return Prepared{};
  return with_partial_sums<T>({}, Planes(out[0].shape, 0));
}

template <class T> void conv2d_dw(const KernelArgs& args) {
  const auto& a = args.attrs<Conv2dDw>();
  const View4<const T> x(args.in[0]), dy(args.in[1]);
  const Weights<T> dw(args.out[0]);
  parallel_rows(dw.O * dw.P, args.in[1].count() * dw.I, [&](int64_t row) {
    const int64_t o = row / dw.P, p = row % dw.P;
    for (int64_t q = 0; q < dw.Q; ++q) {
      for (int64_t c = 0; c < dw.I; ++c) dw(o, p, q, c) = 0;
      for (int64_t n = 0; n < dy.N; ++n) {
        for (int64_t i = 0; i < dy.H; ++i) {
          for (int64_t j = 0; j < dy.W; ++j) {
            const int64_t xi = i * a.stride - a.pad + p, xj = j * a.stride - a.pad + q;
            if (!x.inside(xi, xj)) continue;
            const T d = dy(n, i, j, o);
            for (int64_t c = 0; c < dw.I; ++c) dw(o, p, q, c) += d * x(n, xi, xj, c);
          }
        }
      }
    }
  });
}

template <class T> void conv2d_db(const KernelArgs& args) {
  sum_channels(args.in[0].as<const T>(), Planes(args.in[0].shape, number_or(args, 0)),
               static_cast<T*>(args.workspace), args.out[0].as<T>());
}

template <class T>
std::optional<Prepared> prepare_conv2d_db(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  return with_partial_sums<T>({}, Planes(in[0].shape, 0));
}

template <class T>
std::optional<Prepared> follow_conv2d_db(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  const int64_t block = channel_block(in[0].layout);
  if (block == 0) return {};
  return with_partial_sums<T>(following(block, {{in[0].layout}, {Layout{}}}), Planes(in[0].shape, block));
}

template <class T> void add_with_sums(Registry& r, Dtype dtype) {
  r.add_kernel({.op = Conv2dDx::kName,
                .device = "cpu",
                .version = "plain",
                .dtype = dtype,
                .run = conv2d_dx<T>,
                .prepare = prepare_conv2d_dx<T>});
  r.add_kernel({.op = Conv2dDb::kName,
                .device = "cpu",
                .version = "plain",
                .dtype = dtype,
                .run = conv2d_db<T>,
                .prepare = prepare_conv2d_db<T>,
                .follow = follow_conv2d_db<T>});
}

}  // namespace

void register_conv2d(Registry& r) {
  add_cpu_kernel(r, Conv2d::kName, conv2d<float>, conv2d<double>);
  add_cpu_kernel(r, Conv2dDw::kName, conv2d_dw<float>, conv2d_dw<double>);
  add_with_sums<double>(r, Dtype::f64);
  add_with_sums<float>(r, Dtype::f32);
#ifdef MILLRACE_HAVE_ONEDNN
  register_conv2d_onednn(r);
#endif
  register_conv2d_vector(r);
}

}  // namespace millrace::cpu
