#include "layers/slice_channels.h"

#include <algorithm>

#include "cpu/follow.h"
#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void slice_channels(const KernelArgs& args) {
  const int64_t begin = args.attrs<SliceChannels>().begin, block = number_or(args, 0);
  if (block > 0) {
    const Planes x(args.in[0].shape, block), y(args.out[0].shape, block);
    const int64_t plane = y.pixels * block;
    parallel_rows(y.images * y.blocks, y.count(), [&](int64_t k) {
      const int64_t from = k / y.blocks * x.blocks + begin / block + k % y.blocks;
      std::copy_n(args.in[0].as<const T>() + from * plane, plane, args.out[0].as<T>() + k * plane);
    });
    return;
  }
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

// Slices of whole blocks, or up to the last channel, behind which there are zeros.
std::optional<Prepared> follow(const Op& op, std::span<const Spec> in, std::span<const Spec> out) {
  const int64_t begin = static_cast<const SliceChannels&>(op).attrs.begin;
  const int64_t block = channel_block(in[0].layout), end = begin + out[0].shape[3];
  if (block == 0 || begin % block != 0 || (end % block != 0 && end != in[0].shape[3])) return {};
  return following(block, {{in[0].layout}, {in[0].layout}});
}

}  // namespace

void register_slice_channels(Registry& r) {
  add_cpu_kernel(r, SliceChannels::kName, slice_channels<float>, slice_channels<double>, follow);
  add_cpu_kernel(r, EmbedChannels::kName, embed_channels<float>, embed_channels<double>);
}

}  // namespace millrace::cpu
