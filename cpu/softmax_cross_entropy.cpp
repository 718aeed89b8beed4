#include "losses/softmax_cross_entropy.h"

#include <cmath>

#include "cpu/reduce.h"

namespace millrace::cpu {
namespace {

template <class T> struct Rows {
  const T* x;
  const int32_t* labels;
  int64_t count, C;

  Rows(const Tensor& logits, const Tensor& label)
      : x(logits.as<T>()),
        labels(label.as<int32_t>()),
        count(label.count()),
        C(logits.shape[logits.shape.rank() - 1]) {}

  const T* row(int64_t n) const { return x + n * C; }
  bool is_class(int64_t label) const { return label >= 0 && label < C; }
};

// The largest logit of a row, and the sum of exp(x - largest).
template <class T> struct Exponentials {
  T largest, sum = 0;

  Exponentials(const T* row, int64_t C) : largest(*std::max_element(row, row + C)) {
    for (int64_t c = 0; c < C; ++c) sum += std::exp(row[c] - largest);
  }
};

template <class T> void softmax_cross_entropy(const KernelArgs& args) {
  const Rows<T> rows(args.in[0], args.in[1]);
  const int64_t ignore = args.attrs<SoftmaxCrossEntropy>().ignore;
  const auto [sum, valid] = sum_rows<2>(rows.count, args.in[0].count(), [&](int64_t n) {
    const int64_t label = rows.labels[n];
    if (label == ignore) return std::array{0.0, 0.0};
    const T picked = rows.is_class(label) ? rows.row(n)[label] : std::numeric_limits<T>::quiet_NaN();
    const Exponentials<T> e(rows.row(n), rows.C);
    return std::array{static_cast<double>(std::log(e.sum) + (e.largest - picked)), 1.0};
  });
  const double count = std::max(valid, 1.0);
  *args.out[0].as<T>() = static_cast<T>(sum / count);
  *args.out[1].as<T>() = static_cast<T>(count);
}

template <class T> void softmax_cross_entropy_dx(const KernelArgs& args) {
  const Rows<T> rows(args.in[2], args.in[3]);
  const int64_t ignore = args.attrs<SoftmaxCrossEntropyDx>().ignore;
  const T scale = *args.in[0].as<T>() / *args.in[1].as<T>();
  T* dx = args.out[0].as<T>();
  parallel_rows(rows.count, args.in[2].count(), [&](int64_t n) {
    const int64_t label = rows.labels[n];
    T factor = scale;
    if (label == ignore)
      factor = 0;
    else if (!rows.is_class(label))
      factor = std::numeric_limits<T>::quiet_NaN();
    const Exponentials<T> e(rows.row(n), rows.C);
    for (int64_t c = 0; c < rows.C; ++c)
      dx[n * rows.C + c] =
          factor * (std::exp(rows.row(n)[c] - e.largest) / e.sum - (c == label ? T(1) : T(0)));
  });
}

}  // namespace

void register_softmax_cross_entropy(Registry& r) {
  add_cpu_kernel(r, SoftmaxCrossEntropy::kName, softmax_cross_entropy<float>, softmax_cross_entropy<double>);
  add_cpu_kernel(r, SoftmaxCrossEntropyDx::kName, softmax_cross_entropy_dx<float>,
                 softmax_cross_entropy_dx<double>);
}

}  // namespace millrace::cpu
