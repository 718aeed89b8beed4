#include "layers/normalize_image.h"

#include "cpu/parallel.h"

namespace millrace::cpu {
namespace {

template <class T> void normalize_image(const KernelArgs& args) {
  const NormalizeImageAttrs& a = args.attrs<NormalizeImage>();
  const uint8_t* x = args.in[0].as<uint8_t>();
  T* y = args.out[0].as<T>();
  const T b = static_cast<T>(a.mean_b), g = static_cast<T>(a.mean_g), r = static_cast<T>(a.mean_r);
  const T scale = static_cast<T>(a.scale);
  const int64_t count = args.out[0].count();
  parallel_for(count / 3, [=](int64_t k) {
    y[3 * k] = (static_cast<T>(x[3 * k]) - b) * scale;
    y[3 * k + 1] = (static_cast<T>(x[3 * k + 1]) - g) * scale;
    y[3 * k + 2] = (static_cast<T>(x[3 * k + 2]) - r) * scale;
  });
  for (int64_t k = count / 3 * 3; k < count; ++k) y[k] = (static_cast<T>(x[k]) - b) * scale;  // one mean
}

}  // namespace

void register_normalize_image(Registry& r) {
  add_cpu_kernel(r, NormalizeImage::kName, normalize_image<float>, normalize_image<double>);
}

}  // namespace millrace::cpu
