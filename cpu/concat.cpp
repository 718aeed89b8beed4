#include "layers/concat.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void concat(const KernelArgs& args) {
  const View4<T> y(args.out[0]);
  parallel_rows(y.N * y.H, args.out[0].count(), [&](int64_t row) {
    int64_t begin = 0;
    for (const Tensor& in : args.in) {
      const View4<const T> x(in);
      for (int64_t p = row * y.W; p < (row + 1) * y.W; ++p) {
        std::copy_n(x.data + p * x.C, x.C, y.data + p * y.C + begin);
      }
      begin += x.C;
    }
  });
}

}  // namespace

void register_concat(Registry& r) { add_cpu_kernel(r, Concat::kName, concat<float>, concat<double>); }

}  // namespace millrace::cpu
