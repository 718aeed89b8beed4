#include "optim/adam.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void keep(const Tensor& from, const Tensor& to) {
  if (from.data != to.data) std::copy_n(from.as<T>(), from.count(), to.as<T>());
}

template <class T> void adam(const KernelArgs& args) {
  const T rate = *args.in[5].as<T>(), size = *args.in[6].as<T>(), loss = *args.in[7].as<T>();
  if (!usable(size, loss)) {
    keep<T>(args.in[0], args.out[0]);
    keep<T>(args.in[2], args.out[1]);
    keep<T>(args.in[3], args.out[2]);
    return;
  }
  const AdamStep<T> step(args.attrs<Adam>(), rate, size);
  const int64_t P = args.in[0].count();
  parallel_rows(P / kUpdateBlock, P, [&](int64_t block) {
    const int64_t at = block * kUpdateBlock;
    const T* multipliers = args.in[4].as<T>() + 2 * block;
    const T *p = args.in[0].as<T>() + at, *g = args.in[1].as<T>() + at;
    const T *m = args.in[2].as<T>() + at, *v = args.in[3].as<T>() + at;
    T *p_next = args.out[0].as<T>() + at, *m_next = args.out[1].as<T>() + at;
    T* v_next = args.out[2].as<T>() + at;
    const bool fixed = multipliers[0] == 0;
    const T rate_here = step.rate * multipliers[0], decay = step.weight_decay * multipliers[1];
    // Outputs may be the inputs: equal indices only, which is what simd promises the compiler.
#pragma omp simd
    for (int64_t k = 0; k < kUpdateBlock; ++k) {
      T p_new = p[k], m_new = m[k], v_new = v[k];
      if (!fixed) step(rate_here, decay, g[k], p_new, m_new, v_new);
      p_next[k] = p_new;
      m_next[k] = m_new;
      v_next[k] = v_new;
    }
  });
}

}  // namespace

void register_adam(Registry& r) { add_cpu_kernel(r, Adam::kName, adam<float>, adam<double>); }

}  // namespace millrace::cpu
