#include "layers/bias.h"

#include "cpu/follow.h"
#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void bias(const KernelArgs& args) {
  const BiasFormula<T> formula{static_cast<T>(args.attrs<Bias>().negative_slope)};
  const int64_t block = number_or(args, 0), C = args.in[1].count();
  const T* x = args.in[0].as<T>();
  const T* b = args.in[1].as<T>();
  T* y = args.out[0].as<T>();
  const auto pixel = [=](int64_t at, const T* add, int64_t width) {
    for (int64_t c = 0; c < width; ++c) y[at + c] = formula(x[at + c], add[c]);
  };
  if (block == 0) {
    parallel_rows(args.out[0].count() / C, args.out[0].count(), [=](int64_t row) { pixel(row * C, b, C); });
    return;
  }
  const Planes p(args.out[0].shape, block);
  const int64_t pixels = p.pixels;
  parallel_rows(p.images * p.blocks, p.count(), [=](int64_t plane) {
    const int64_t k = plane % p.blocks, width = p.width(k);
    for (int64_t at = plane * pixels * block; at < (plane + 1) * pixels * block; at += block) {
      pixel(at, b + k * block, width);
      std::fill(y + at + width, y + at + block, T(0));
    }
  });
}

std::optional<Prepared> follow(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  const int64_t block = channel_block(in[0].layout);
  if (block == 0) return {};
  return following(block, {{in[0].layout, Layout{}}, {in[0].layout}});
}

}  // namespace

void register_bias(Registry& r) { add_cpu_kernel(r, Bias::kName, bias<float>, bias<double>, follow); }

}  // namespace millrace::cpu
