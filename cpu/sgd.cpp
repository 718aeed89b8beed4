#include "optim/sgd.h"

#include "cpu/flat.h"

namespace millrace::cpu {
namespace {

// G is the type of the gradient: T, or Bf16 beside parameters in float.
template <class T, class G> void move(const KernelArgs& args, T rate, T norm) {
  const SgdStep<T> step(args.attrs<Sgd>());
  const T scale = step.gradient.scale(norm);
  const int64_t P = args.in[0].count();
  parallel_rows(P / kUpdateBlock, P, [&](int64_t block) {
    const int64_t at = block * kUpdateBlock;
    const T* multipliers = args.in[3].as<T>() + 2 * block;
    const T *p = args.in[0].as<T>() + at, *v = args.in[2].as<T>() + at;
    const G* g = args.in[1].as<G>() + at;
    T *p_next = args.out[0].as<T>() + at, *v_next = args.out[1].as<T>() + at;
    const bool fixed = multipliers[0] == 0;
    const BlockStep<T> here{scale, rate * multipliers[0], step.gradient.weight_decay * multipliers[1]};
    // Outputs may be the inputs: equal indices only, which is what simd promises the compiler.
#pragma omp simd
    for (int64_t k = 0; k < kUpdateBlock; ++k) {
      T p_new = p[k], v_new = v[k];
      if (!fixed) step(here, real_number(g[k]), p_new, v_new);
      p_next[k] = p_new;
      v_next[k] = v_new;
    }
  });
}

template <class T> void sgd(const KernelArgs& args) {
  const T rate = *args.in[4].as<T>(), norm = *args.in[5].as<T>(), loss = *args.in[6].as<T>();
  if (!usable(norm, loss)) {
    keep<T>(args.in[0], args.out[0]);
    keep<T>(args.in[2], args.out[1]);
  } else if (args.in[1].dtype == Dtype::bf16) {
    move<T, Bf16>(args, rate, norm);
  } else {
    move<T, T>(args, rate, norm);
  }
  if (args.attrs<Sgd>().copy) write_copy<T>(args.out[0], args.out[2]);
}

}  // namespace

void register_sgd(Registry& r) {
  add_cpu_kernel(r, Sgd::kName, sgd<float>, sgd<double>);
  r.add_kernel(
      {.op = Sgd::kName, .device = "cpu", .version = "plain", .dtype = Dtype::bf16, .run = sgd<float>});
}

}  // namespace millrace::cpu
