#include "layers/slice_channels.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void slice_channels(const KernelArgs& args) {
  const int64_t begin = args.attrs<SliceChannels>().begin;
  const View4<const T> x(args.in[0]);
  const View4<T> y(args.out[0]);
  parallel_rows(y.N * y.H, args.out[0].count(), [&](int64_t row) {
    for (int64_t p = row * y.W; p < (row + 1) * y.W; ++p) {
      std::copy_n(x.data + p * x.C + begin, y.C, y.data + p * y.C);
    }
  });
}

template <class T> void embed_channels(const KernelArgs& args) {
  const int64_t begin = args.attrs<EmbedChannels>().begin;
  const View4<const T> x(args.in[0]);
  const View4<T> y(args.out[0]);
  parallel_rows(y.N * y.H, args.out[0].count(), [&](int64_t row) {
    for (int64_t p = row * y.W; p < (row + 1) * y.W; ++p) {
      T* pixel = y.data + p * y.C;
      std::fill_n(pixel, begin, T(0));
      std::copy_n(x.data + p * x.C, x.C, pixel + begin);
      std::fill(pixel + begin + x.C, pixel + y.C, T(0));
    }
  });
}

}  // namespace

void register_slice_channels(Registry& r) {
  add_cpu_kernel(r, SliceChannels::kName, slice_channels<float>, slice_channels<double>);
  add_cpu_kernel(r, EmbedChannels::kName, embed_channels<float>, embed_channels<double>);
}

}  // namespace millrace::cpu
