#include "layers/prepare_clip.h"

#include "cpu/parallel.h"
#include "cpu/power.h"

namespace millrace::cpu {
namespace {

template <class T> void prepare_clip(const KernelArgs& args) {
  const PrepareClipAttrs& a = args.attrs<PrepareClip>();
  const View4<const uint8_t> x(args.in[0]);
  const int32_t* windows = args.in[1].as<int32_t>();
  const View4<T> images(args.out[0]);
  T* loss_images = a.loss_images ? args.out[1].as<T>() : nullptr;
  const T means[3] = {static_cast<T>(a.normalize.mean_b), static_cast<T>(a.normalize.mean_g),
                      static_cast<T>(a.normalize.mean_r)};
  const T scale = static_cast<T>(a.normalize.scale), k = static_cast<T>(a.response.k);
  const T weight = static_cast<T>(a.response.alpha / static_cast<double>(a.response.size));
  const T exponent = static_cast<T>(-a.response.beta);
  const int H = static_cast<int>(images.H), W = static_cast<int>(images.W);

  parallel_rows(images.N * H, args.out[0].count(), [=](int64_t line) {
    const int64_t n = line / H;
    const int i = static_cast<int>(line % H);
    const ClipWindow window(windows + n * kWindowNumbers, static_cast<int>(x.H), static_cast<int>(x.W));
    const ResizeTap row = resize_tap(i, window.height, H, false);
    for (int j = 0; j < W; ++j) {
      const ResizeTap column = resize_tap(window.mirror ? W - 1 - j : j, window.width, W, true);
      const auto tap = [&](int p, int q) { return &x(n, window.top + p, window.left + q, 0); };
      const uint8_t *first = tap(row.first, column.first), *second = tap(row.first, column.second);
      const uint8_t *third = tap(row.second, column.first), *fourth = tap(row.second, column.second);
      T* image = &images(n, i, j, 0);
      for (int64_t c = 0; c < x.C; ++c)
        image[c] = (static_cast<T>(resize_blend(first[c], second[c], third[c], fourth[c], row, column)) -
                    means[c % 3]) *
                   scale;
      for (int64_t c = x.C; c < images.C; ++c) image[c] = 0;
      if (!loss_images) continue;
      T* loss_image = loss_images + (line * W + j) * x.C;
      for (int64_t c = 0; c < x.C; c += 3) {
        const T b = image[c], g = image[c + 1], r = image[c + 2];
        const T factor = a.respond ? power(k + weight * (b * b + g * g + r * r), exponent) : T(1);
        loss_image[c] = b * factor;
        loss_image[c + 1] = g * factor;
        loss_image[c + 2] = r * factor;
      }
    }
  });
}

}  // namespace

void register_prepare_clip(Registry& r) {
  add_cpu_kernel(r, PrepareClip::kName, prepare_clip<float>, prepare_clip<double>);
}

}  // namespace millrace::cpu
