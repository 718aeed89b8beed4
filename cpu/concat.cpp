#include "layers/concat.h"

#include <algorithm>

#include "cpu/follow.h"
#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void concat(const KernelArgs& args) {
  const int64_t block = number_or(args, 0);
  if (block > 0) {  // whole blocks of channels follow one another: a plane of pixels stays in one piece
    const Planes y(args.out[0].shape, block);
    const int64_t plane = y.pixels * block;
    parallel_rows(y.images, y.count(), [&](int64_t n) {
      T* to = args.out[0].as<T>() + n * y.blocks * plane;
      for (const Tensor& in : args.in) {
        const int64_t blocks = Planes(in.shape, block).blocks;
        to = std::copy_n(in.as<const T>() + n * blocks * plane, blocks * plane, to);
      }
    });
    return;
  }
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

// All but the last must fill their blocks.
std::optional<Prepared> follow(const Op&, std::span<const Spec> in, std::span<const Spec>) {
  const Layout& layout = in[0].layout;
  const int64_t block = channel_block(layout);
  if (block == 0) return {};
  for (const Spec& s : in.first(in.size() - 1)) {
    if (s.shape[3] % block != 0) return {};
  }
  return following(block, {std::vector(in.size(), layout), {layout}});
}

}  // namespace

void register_concat(Registry& r) { add_cpu_kernel(r, Concat::kName, concat<float>, concat<double>, follow); }

}  // namespace millrace::cpu
