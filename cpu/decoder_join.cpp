#include "layers/decoder_join.h"

#include <algorithm>

#include "cpu/parallel.h"
#include "layers/bias.h"

namespace millrace::cpu {
namespace {

template <class T> void decoder_join(const KernelArgs& args) {
  const View4<const T> skip(args.in[0]), up(args.in[1]), flow(args.in[3]);
  const T* b = args.in[2].as<T>();
  const T* b_flow = args.in[4].as<T>();
  const View4<T> y(args.out[0]);
  const BiasFormula<T> leaky{static_cast<T>(args.attrs<DecoderJoin>().negative_slope)};
  parallel_rows(y.N * y.H, args.out[0].count(), [=](int64_t row) {
    for (int64_t p = row * y.W; p < (row + 1) * y.W; ++p) {
      T* to = std::copy_n(skip.data + p * skip.C, skip.C, y.data + p * y.C);
      for (int64_t u = 0; u < up.C; ++u) *to++ = leaky(up.data[p * up.C + u], b[u]);
      for (int64_t f = 0; f < flow.C; ++f) *to++ = flow.data[p * flow.C + f] + b_flow[f];
    }
  });
}

template <class T> void decoder_join_dx(const KernelArgs& args) {
  const View4<const T> dy(args.in[0]), y(args.in[1]);
  const View4<T> dskip(args.out[0]), dup(args.out[1]), dflow(args.out[2]);
  const LeakyReluDxFormula<T> leaky_dx{static_cast<T>(args.attrs<DecoderJoinDx>().negative_slope)};
  parallel_rows(dy.N * dy.H, args.in[0].count(), [=](int64_t row) {
    for (int64_t p = row * dy.W; p < (row + 1) * dy.W; ++p) {
      const T *slope = dy.data + p * dy.C, *value = y.data + p * y.C;
      std::copy_n(slope, dskip.C, dskip.data + p * dskip.C);
      for (int64_t u = 0; u < dup.C; ++u)
        dup.data[p * dup.C + u] = leaky_dx(slope[dskip.C + u], value[dskip.C + u]);
      std::copy_n(slope + dskip.C + dup.C, dflow.C, dflow.data + p * dflow.C);
    }
  });
}

}  // namespace

void register_decoder_join(Registry& r) {
  add_cpu_kernel(r, DecoderJoin::kName, decoder_join<float>, decoder_join<double>);
  add_cpu_kernel(r, DecoderJoinDx::kName, decoder_join_dx<float>, decoder_join_dx<double>);
}

}  // namespace millrace::cpu
