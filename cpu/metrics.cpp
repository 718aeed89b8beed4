#include "optim/metrics.h"

#include <algorithm>
#include <limits>

#include "core/registry.h"
#include "optim/flat.h"

namespace millrace::cpu {
namespace {

template <class T> void metrics(const KernelArgs& args) {
  const T *ring = args.in[0].as<T>(), *at = args.in[1].as<T>();
  T *next = args.out[0].as<T>(), *at_next = args.out[1].as<T>();
  const int64_t rows = args.in[0].shape[0], columns = args.in[0].shape[1], row = static_cast<int64_t>(at[0]);
  if (next != ring) std::copy_n(ring, rows * columns, next);
  T* line = next + row * columns;
  std::fill_n(line, columns, T(0));
  bool finite = usable(at[1], at[1]);
  for (size_t k = Metrics::kFirst; k < args.in.size(); ++k) {
    const T x = args.in[k].as<T>()[0];
    line[k - Metrics::kFirst] = x;
    finite = finite && usable(x, x);
  }
  const T guard = finite ? T(0) : std::numeric_limits<T>::quiet_NaN();
  at_next[0] = static_cast<T>((row + 1) % rows);
  at_next[1] = guard;
  args.out[2].as<T>()[0] = guard;
}

}  // namespace

void register_metrics(Registry& r) { add_cpu_kernel(r, Metrics::kName, metrics<float>, metrics<double>); }

}  // namespace millrace::cpu
