#include "layers/linear.h"

#include "cpu/parallel.h"
#include "cpu/versions.h"

namespace millrace::cpu {
namespace {

template <class T> void linear(const KernelArgs& args) {
  const auto [N, O, K] = linear_sizes(args.in[0], args.in[1]);
  const T *x = args.in[0].as<T>(), *w = args.in[1].as<T>();
  const T* b = args.in.size() == 3 ? args.in[2].as<T>() : nullptr;
  T* y = args.out[0].as<T>();
  const T slope = static_cast<T>(args.attrs<Linear>().negative_slope);
  parallel_rows(O, N * O * K, [=, N = N, O = O, K = K](int64_t o) {
    for (int64_t n = 0; n < N; ++n) {
      T sum = 0;
      for (int64_t k = 0; k < K; ++k) sum += x[n * K + k] * w[o * K + k];
      if (b) sum += b[o];
      y[n * O + o] = sum > 0 ? sum : slope * sum;
    }
  });
}

// Columns of a row of dx or dw that are computed at a time, so that the sums stay in the cache.
constexpr int64_t kColumns = 1024;

// sums(r,k) = sum over t of factor(r,t) rows(t,k), in the order of t.
template <class T, class Factor>
void combine_rows(const T* rows, int64_t K, int64_t results, int64_t terms, Factor factor, T* sums) {
  const int64_t pieces = (K + kColumns - 1) / kColumns;
  parallel_rows(results * pieces, results * terms * K, [=](int64_t task) {
    const int64_t r = task % results, first = task / results * kColumns, end = std::min(first + kColumns, K);
    T* sum = sums + r * K;
    std::fill(sum + first, sum + end, T(0));
    for (int64_t t = 0; t < terms; ++t) {
      const T f = factor(r, t);
      const T* row = rows + t * K;
      for (int64_t k = first; k < end; ++k) sum[k] += f * row[k];
    }
  });
}

template <class T> void linear_dx(const KernelArgs& args) {
  const auto [N, O, K] = linear_sizes(args.out[0], args.in[1]);
  const T* dy = args.in[0].as<T>();
  combine_rows(
      args.in[1].as<const T>(), K, N, O, [dy, O = O](int64_t n, int64_t o) { return dy[n * O + o]; },
      args.out[0].as<T>());
}

template <class T> void linear_dw(const KernelArgs& args) {
  const auto [N, O, K] = linear_sizes(args.in[0], args.out[0]);
  const T* dy = args.in[1].as<T>();
  combine_rows(
      args.in[0].as<const T>(), K, O, N, [dy, O = O](int64_t o, int64_t n) { return dy[n * O + o]; },
      args.out[0].as<T>());
}

template <class T> void linear_db(const KernelArgs& args) {
  const int64_t N = args.in[0].shape[0], O = args.in[0].shape[1];
  const T* dy = args.in[0].as<T>();
  T* db = args.out[0].as<T>();
  std::fill(db, db + O, T(0));
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t o = 0; o < O; ++o) db[o] += dy[n * O + o];
  }
}

}  // namespace

void register_linear(Registry& r) {
  add_cpu_kernel(r, Linear::kName, linear<float>, linear<double>);
  add_cpu_kernel(r, LinearDx::kName, linear_dx<float>, linear_dx<double>);
  add_cpu_kernel(r, LinearDw::kName, linear_dw<float>, linear_dw<double>);
  add_cpu_kernel(r, LinearDb::kName, linear_db<float>, linear_db<double>);
#ifdef MILLRACE_HAVE_ONEDNN
  register_linear_onednn(r);
#endif
}

}  // namespace millrace::cpu
