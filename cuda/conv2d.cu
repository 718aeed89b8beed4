// The convolution family as its equations say it, one thread per result; cuda/conv2d_tiled.cu is faster.
#include "cuda/conv2d_dx.cuh"

namespace MILLRACE_CUDA_NS {
namespace {

constexpr int kBlock = 256;

// A View4 also gives weights under the indices of the equations, w(o,p,q,c).

// One thread per element of y, neighbours along o. The threads of a warp share their taps of x; each reads
// its own row of w, kh kw I numbers apart: 32 lines for one multiply-add each. Bytes per output from the
// caches: kh kw I numbers of x, a 32nd of which is fetched, and as many of w.
template <class T, class Y> __global__ void __launch_bounds__(kBlock)
    conv2d_elements(View4<const T> x, View4<const T> w, const float* b, View4<Y> y, int64_t stride,
                    int64_t pad, LeakyReluFormula<float> leaky) {
  const int64_t element = global_thread();
  if (element >= y.N * y.H * y.W * y.C) return;
  const int64_t o = element % y.C, j = element / y.C % y.W, i = element / y.C / y.W % y.H;
  const int64_t n = element / y.C / y.W / y.H;
  float sum = b ? b[o] : 0.0f;
  for (int64_t p = 0; p < w.H; ++p) {
    for (int64_t q = 0; q < w.W; ++q) {
      const int64_t xi = i * stride - pad + p, xj = j * stride - pad + q;
      if (!x.inside(xi, xj)) continue;
      for (int64_t c = 0; c < x.C; ++c) sum += to_float(x(n, xi, xj, c)) * to_float(w(o, p, q, c));
    }
  }
  y.data[element] = from_float<Y>(leaky(sum));
}

// One thread per element of dx, neighbours along c: dy is shared by a warp, and w(o,p,q,c) read in whole
// lines. Bytes per output from the caches: O numbers of w for each of the (kh / s) (kw / s) taps that meet
// it, and a 32nd of as many of dy; of a fused op one number of the addend and of y.
template <class T> __global__ void __launch_bounds__(kBlock)
    conv2d_dx_elements(View4<const T> dy, View4<const T> w, View4<T> dx, int64_t stride, int64_t pad,
                       DxEpilogue<T> epilogue) {
  const int64_t element = global_thread();
  if (element >= dx.N * dx.H * dx.W * dx.C) return;
  const int64_t c = element % dx.C, j = element / dx.C % dx.W, i = element / dx.C / dx.W % dx.H;
  const int64_t n = element / dx.C / dx.W / dx.H;
  float sum = 0;
  for (int64_t p = 0; p < w.H; ++p) {
    for (int64_t q = 0; q < w.W; ++q) {
      const int64_t si = i + pad - p, sj = j + pad - q;  // i' s and j' s
      if (si < 0 || sj < 0 || si % stride != 0 || sj % stride != 0) continue;
      if (!dy.inside(si / stride, sj / stride)) continue;
      for (int64_t o = 0; o < dy.C; ++o)
        sum += to_float(dy(n, si / stride, sj / stride, o)) * to_float(w(o, p, q, c));
    }
  }
  dx.data[element] = from_float<T>(epilogue(sum, element));
}

// One thread per element of dw, neighbours along c, which goes through all pixels in order; each row of
// pixels has a sum of its own, which keeps rounding small. Bytes per output from the caches: N OH OW numbers
// of x and a 32nd of as many of dy. Few weights give few threads: 36,864 for 64 channels to 64, under a
// seventh of what a GPU holds.
template <class T> __global__ void __launch_bounds__(kBlock)
    conv2d_dw_elements(View4<const T> x, View4<const T> dy, View4<float> dw, int64_t stride, int64_t pad) {
  const int64_t element = global_thread();
  if (element >= dw.N * dw.H * dw.W * dw.C) return;
  const int64_t c = element % dw.C, q = element / dw.C % dw.W, p = element / dw.C / dw.W % dw.H;
  const int64_t o = element / dw.C / dw.W / dw.H;
  float sum = 0;
  for (int64_t n = 0; n < dy.N; ++n) {
    for (int64_t i = 0; i < dy.H; ++i) {
      float row = 0;
      for (int64_t j = 0; j < dy.W; ++j) {
        const int64_t xi = i * stride - pad + p, xj = j * stride - pad + q;
        if (x.inside(xi, xj)) row += to_float(dy(n, i, j, o)) * to_float(x(n, xi, xj, c));
      }
      sum += row;
    }
  }
  dw.data[element] = sum;
}

template <class T, class Y> void launch_conv2d(const KernelArgs& args) {
  const Conv2dAttrs& a = args.attrs<Conv2d>();
  const float* b = args.in.size() == 3 ? args.in[2].as<const float>() : nullptr;
  launch(conv2d_elements<T, Y>, {.grid = blocks_for(args.out[0].count(), kBlock), .block = kBlock},
         args.stream, args.in[0], args.in[1], b, args.out[0], a.stride, a.pad,
         LeakyReluFormula<float>{static_cast<float>(a.negative_slope)});
}

template <class T> void conv2d(const KernelArgs& args) {
  if (args.out[0].dtype == Dtype::f32)
    launch_conv2d<T, float>(args);
  else
    launch_conv2d<T, T>(args);
}

template <class T> void conv2d_dx(const KernelArgs& args) {
  const Conv2dDxAttrs& a = args.attrs<Conv2dDx>();
  launch(conv2d_dx_elements<T>, {.grid = blocks_for(args.out[0].count(), kBlock), .block = kBlock},
         args.stream, args.in[0], args.in[1], args.out[0], a.stride, a.pad, DxEpilogue<T>(args));
  sum_dx(args);
}

template <class T> void conv2d_dw(const KernelArgs& args) {
  const Conv2dDwAttrs& a = args.attrs<Conv2dDw>();
  launch(conv2d_dw_elements<T>, {.grid = blocks_for(args.out[0].count(), kBlock), .block = kBlock},
         args.stream, args.in[0], args.in[1], args.out[0], a.stride, a.pad);
}

std::optional<Prepared> prepare_dx(const Op& op, std::span<const Spec>, std::span<const Spec> out) {
  return prepare_dx_sum(op, out);
}

template <class T> void add(Registry& r) {
  constexpr Dtype kDtype = dtype_of<T>();
  add_cuda_kernel(r, {.op = Conv2d::kName, .dtype = kDtype, .run = conv2d<T>});
  add_cuda_kernel(r, {.op = Conv2dDx::kName, .dtype = kDtype, .run = conv2d_dx<T>, .prepare = prepare_dx});
  add_cuda_kernel(r, {.op = Conv2dDw::kName, .dtype = kDtype, .run = conv2d_dw<T>});
}

}  // namespace

void register_conv2d(Registry& r) {
  add<float>(r);
  add<Bf16>(r);
}

}  // namespace MILLRACE_CUDA_NS
