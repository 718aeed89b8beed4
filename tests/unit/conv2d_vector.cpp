// Weight gradients in registers (cpu/conv2d_vector.cpp): shapes whose tiles and taps end in odd places, and
// the same bits for any number of threads.
#include <omp.h>

#include <algorithm>
#include <iostream>

#include "layers/conv2d.h"
#include "tests/catch.h"
#include "tests/unit/run_op.h"

using namespace millrace;
using namespace millrace::test;

namespace {

struct Setting {
  Shape x, dy;
  Conv2dDwAttrs attrs;
};

const std::vector<Setting> kSettings{
    {{1, 1, 1, 8},
     {1, 1, 1, 8},
     {.stride = 1, .pad = 1, .kernel_height = 3, .kernel_width = 3}},  // one tap hits
    {{2, 5, 7, 9},
     {2, 5, 7, 17},
     {.stride = 1, .pad = 1, .kernel_height = 3, .kernel_width = 3}},  // blocks filled up
    {{1, 3, 400, 12},
     {1, 3, 400, 24},
     {.stride = 1, .pad = 1, .kernel_height = 3, .kernel_width = 3}},  // tiles of a row
    {{3, 40, 6, 33},
     {3, 40, 6, 20},
     {.stride = 1, .pad = 1, .kernel_height = 3, .kernel_width = 3}},  // of many rows
    {{2, 9, 12, 8}, {2, 5, 6, 16}, {.stride = 2, .pad = 1, .kernel_height = 3, .kernel_width = 3}},
    {{1, 10, 14, 16},
     {1, 5, 7, 40},
     {.stride = 2, .pad = 1, .kernel_height = 4, .kernel_width = 4}},  // a deconvolution
    {{1, 13, 8, 10}, {1, 7, 4, 8}, {.stride = 2, .pad = 3, .kernel_height = 7, .kernel_width = 7}},
    {{1, 6, 6, 8}, {1, 4, 6, 8}, {.stride = 1, .pad = 0, .kernel_height = 3, .kernel_width = 1}},
};

Numbers weight_gradient(const Setting& s, Dtype real) {
  const auto drawn = [](const Shape& shape, uint64_t seed) {
    Numbers values = draw(shape.count(), -1, 1, seed);
    for (double& v : values) v = static_cast<float>(v);
    return OpInput{shape, std::move(values)};
  };
  return run_op(make_op<Conv2dDw>(s.attrs), {drawn(s.x, 1), drawn(s.dy, 2)}, real).front();
}

bool in_use() {
  const auto kernels = Registry::get().kernels(Conv2dDw::kName, "cpu", Dtype::f32);
  if (kernels.front()->version == "vector") return true;
  std::cout << "skipped: weights are not in blocks of 8 here (no AVX2, AVX-512, or no oneDNN)\n";
  return false;
}

}  // namespace

TEST_CASE("weight gradients in registers are those of the plain loops, for any number of threads") {
  if (!in_use()) return;
  const int before = omp_get_max_threads();
  for (const Setting& s : kSettings) {
    INFO(s.x.to_string() << " " << s.dy.to_string());
    const Numbers expected = weight_gradient(s, Dtype::f64);
    Numbers one;
    for (int threads = 1; threads <= 5; ++threads) {
      INFO(threads << " threads");
      omp_set_num_threads(threads);
      const Numbers got = weight_gradient(s, Dtype::f32);
      omp_set_num_threads(before);
      if (threads == 1) one = got;
      REQUIRE(got.size() == expected.size());
      CHECK(got == one);
      double largest = 0, error = 0;
      for (size_t k = 0; k < got.size(); ++k) {
        largest = std::max(largest, std::abs(expected[k]));
        error = std::max(error, std::abs(got[k] - expected[k]));
      }
      CHECK(largest > 0);
      CHECK(error <= 2e-6 * largest);
    }
  }
}
