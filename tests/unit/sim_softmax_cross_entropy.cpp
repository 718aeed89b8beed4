// Softmax cross-entropy: numbers worked out by hand, and labels that are no class, for the kernels of both
// devices; the CUDA ones are simulated.
#include <cmath>
#include <functional>

#include "cuda/register.h"
#include "losses/softmax_cross_entropy.h"
#include "tests/unit/run_kernel.h"

using namespace millrace;
using namespace millrace::test;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();

struct Batch {
  Shape shape;
  std::vector<double> logits, labels;
  SoftmaxCrossEntropyAttrs attrs{};
};

Spec logits_spec(const Batch& b, const Kernel& kernel) { return {b.shape, kernel.dtype}; }
Spec labels_spec(const Batch& b) { return {{static_cast<int64_t>(b.labels.size())}, Dtype::i32}; }

// {loss, count}
std::vector<double> loss_of(const Kernel& kernel, const Batch& b) {
  const auto out = run_kernel(kernel, SoftmaxCrossEntropy(b.attrs),
                              {{logits_spec(b, kernel), b.logits}, {labels_spec(b), b.labels}});
  return {out[0][0], out[1][0]};
}

std::vector<double> slope_of(const Kernel& kernel, const Batch& b, double dloss, double count) {
  const Spec scalar{{1}, precise(kernel.dtype)};
  return run_kernel(kernel, SoftmaxCrossEntropyDx(b.attrs),
                    {{scalar, {dloss}},
                     {scalar, {count}},
                     {logits_spec(b, kernel), b.logits},
                     {labels_spec(b), b.labels}})[0];
}

template <class F> void for_each_kernel(const std::string& op, size_t count, const F& test) {
  static const bool registered = [] {
    cuda_sim::register_kernels(Registry::mutable_registry());
    return true;
  }();
  REQUIRE(registered);
  const auto kernels = all_kernels(op);
  REQUIRE(kernels.size() == count);  // f64 and f32 on the CPU; two rungs in f32 and bf16
  for (const Kernel* k : kernels) {
    INFO(k->device << " " << k->version << " " << name_of(k->dtype));
    test(*k);
  }
}

void for_each_loss(const std::function<void(const Kernel&)>& test) {
  for_each_kernel("softmax_cross_entropy", 6, test);
}
void for_each_slope(const std::function<void(const Kernel&)>& test) {
  for_each_kernel("softmax_cross_entropy_dx", 6, test);
}

}  // namespace

TEST_CASE("the loss of rows whose probabilities are known") {
  for_each_loss([](const Kernel& k) {
    CHECK(loss_of(k, {{1, 2}, {0, 0}, {0}})[0] == Approx(std::log(2)));
    CHECK(loss_of(k, {{1, 4}, {1, 1, 1, 1}, {3}})[0] == Approx(std::log(4)));
    CHECK(loss_of(k, {{2, 2}, {0, 0, 0, 0}, {0, 1}}) == loss_of(k, {{2, 2}, {0, 0, 0, 0}, {1, 1}}));
    CHECK(loss_of(k, {{1, 1}, {-5}, {0}})[0] == 0);
    // Far outside the range of exp, both ways.
    CHECK(loss_of(k, {{1, 2}, {1024, 0}, {1}})[0] == 1024);
    CHECK(loss_of(k, {{1, 2}, {1024, 0}, {0}})[0] == 0);
    CHECK(loss_of(k, {{1, 2}, {-1024, -1024}, {0}})[0] == Approx(std::log(2)));
    CHECK(std::isnan(loss_of(k, {{1, 3}, {1, kNan, 2}, {0}})[0]));
  });
}

TEST_CASE("rows that are ignored do not count") {
  const SoftmaxCrossEntropyAttrs attrs{.ignore = 255};
  const Batch half{{4, 2}, {0, 0, 9, 1, 0, 0, -3, 8}, {0, 255, 1, 255}, attrs};
  const Batch none{{2, 2}, {0, 0, 9, 1}, {255, 255}, attrs};
  for_each_loss([&](const Kernel& k) {
    CHECK(loss_of(k, half)[0] == Approx(std::log(2)));
    CHECK(loss_of(k, half)[1] == 2);
    CHECK(loss_of(k, none) == std::vector<double>{0, 1});
  });
  for_each_slope([&](const Kernel& k) {
    CHECK(slope_of(k, half, 4, 2) == std::vector<double>{-1, 1, 0, 0, 1, -1, 0, 0});
    CHECK(slope_of(k, none, 4, 1) == std::vector<double>(4, 0));
  });
}

TEST_CASE("a label that is no class shows as NaN, in the loss and in its row, and nothing is read for it") {
  for (const double label : {-1.0, 3.0, 2147483647.0, -2147483648.0}) {
    const Batch b{{3, 3}, {1, 2, 3, 1, 2, 3, 3, 2, 1}, {0, label, 2}};
    for_each_loss([&](const Kernel& k) {
      CHECK(std::isnan(loss_of(k, b)[0]));
      CHECK(loss_of(k, b)[1] == 3);
    });
    for_each_slope([&](const Kernel& k) {
      const std::vector<double> dx = slope_of(k, b, 1, 3);
      for (size_t e = 0; e < dx.size(); ++e) CHECK(std::isnan(dx[e]) == (e / 3 == 1));
    });
  }
}

TEST_CASE("each row of the gradient sums to 0, and points away from the label") {
  Random r(5);
  Batch b{{7, 101}, {}, {}};
  for (int k = 0; k < 7 * 101; ++k) b.logits.push_back(r.uniform(-4, 4));
  for (int n = 0; n < 7; ++n) b.labels.push_back(static_cast<double>(r.integer(0, 100)));
  for_each_slope([&](const Kernel& k) {
    const std::vector<double> dx = slope_of(k, b, 7, 7);
    for (size_t n = 0; n < 7; ++n) {
      double sum = 0;
      for (size_t c = 0; c < 101; ++c) {
        sum += dx[n * 101 + c];
        CHECK((dx[n * 101 + c] < 0) == (static_cast<double>(c) == b.labels[n]));
      }
      CHECK(std::abs(sum) < (k.dtype == Dtype::bf16 ? .01 : 1e-5));
    }
  });
}

TEST_CASE("the cross-entropy refuses logits and labels that do not fit") {
  Graph g;
  const Value x = g.input("x", {4, 5}), flat = g.input("flat", {20}),
              labels = g.input("l", Spec{{4}, Dtype::i32});
  const Value few = g.input("few", Spec{{3}, Dtype::i32}), real = g.input("real", {4});
  CHECK_NOTHROW(softmax_cross_entropy(g, x, labels));
  CHECK_NOTHROW(softmax_cross_entropy(g, g.input("image", {4, 1, 1, 5}), labels));
  CHECK_THROWS_AS(softmax_cross_entropy(g, flat, labels), Error);
  CHECK_THROWS_AS(softmax_cross_entropy(g, x, few), Error);
  CHECK_THROWS_AS(softmax_cross_entropy(g, x, real), Error);
}
