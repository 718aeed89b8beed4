// Dropout: one mask for all kernels, types and devices, the CUDA kernels simulated.
#include <cmath>
#include <set>

#include "core/graph.h"
#include "cuda/register.h"
#include "layers/dropout.h"
#include "tests/unit/run_kernel.h"

using namespace millrace;
using namespace millrace::test;

namespace {

std::vector<const Kernel*> dropout_kernels() {
  static const bool registered = [] {
    cuda_sim::register_kernels(Registry::mutable_registry());
    return true;
  }();
  REQUIRE(registered);
  return all_kernels("dropout");
}

struct When {
  int64_t seed = 7, step = 3;
};

std::vector<double> dropped(const Kernel& kernel, const DropoutAttrs& attrs, const std::vector<double>& x,
                            When when = {}) {
  const auto at = std::vector{static_cast<double>(when.seed), static_cast<double>(when.step)};
  const KernelInput values{{{static_cast<int64_t>(x.size())}, kernel.dtype}, x};
  return run_kernel(kernel, Dropout(attrs), {values, {{{2}, Dtype::i64}, at}})[0];
}

const Kernel& truth() {
  for (const Kernel* k : dropout_kernels()) {
    if (k->device == "cpu" && k->dtype == Dtype::f64) return *k;
  }
  FAIL("no double kernel");
  return *dropout_kernels()[0];
}

// Which elements are kept.
std::vector<bool> mask(const Kernel& kernel, const DropoutAttrs& attrs, int64_t count, When when = {}) {
  std::vector<bool> kept;
  for (double y : dropped(kernel, attrs, std::vector<double>(static_cast<size_t>(count), 1), when))
    kept.push_back(y != 0);
  return kept;
}

double agreement(const std::vector<bool>& a, const std::vector<bool>& b) {
  REQUIRE(a.size() == b.size());
  double equal = 0;
  for (size_t k = 0; k < a.size(); ++k) equal += a[k] == b[k];
  return equal / static_cast<double>(a.size());
}

}  // namespace

TEST_CASE("the mask is the same for every kernel, and what the stream's numbers say") {
  const DropoutAttrs attrs{.ratio = .8, .stream = "fc6"};
  constexpr int64_t kCount = 8199;  // several thread blocks, vectors and a rest
  const RandomStream numbers = random_stream(7, "fc6");
  std::vector<bool> expected;
  for (int64_t k = 0; k < kCount; ++k)
    expected.push_back(numbers.block({.step = 3, .index = k / 4}).word[k % 4] * 0x1p-32 >= .8);
  std::set<std::string> seen;
  for (const Kernel* k : dropout_kernels()) {
    INFO(k->device << " " << k->version << " " << name_of(k->dtype));
    CHECK(mask(*k, attrs, kCount) == expected);
    seen.insert(k->device + k->version + std::string(name_of(k->dtype)));
  }
  CHECK(seen.size() == 6);  // f64 and f32 on the CPU; two rungs in f32 and bf16
}

TEST_CASE("what is dropped and what is kept average to the input") {
  constexpr int64_t kCount = 100000;
  for (const double ratio : {.1, .5, .9}) {
    double sum = 0;
    for (double y : dropped(truth(), {ratio, "fc7"}, std::vector<double>(kCount, 1))) {
      REQUIRE((y == 0 || y == Approx(1 / (1 - ratio))));
      sum += y;
    }
    const double sigma = std::sqrt(ratio / (1 - ratio) / kCount);
    CHECK(std::abs(sum / kCount - 1) < 4 * sigma);
  }
}

TEST_CASE("seed, step and stream each make another mask, and the same ones the same") {
  const DropoutAttrs attrs{.ratio = .5, .stream = "fc6"};
  const std::vector<bool> one = mask(truth(), attrs, 10000);
  CHECK(mask(truth(), attrs, 10000) == one);
  for (const auto& other : {mask(truth(), attrs, 10000, {.seed = 8, .step = 3}),
                            mask(truth(), attrs, 10000, {.seed = 7, .step = 4}),
                            mask(truth(), attrs, 10000, {.seed = -7, .step = 3}),
                            mask(truth(), {.ratio = .5, .stream = "fc7"}, 10000)})
    CHECK(std::abs(agreement(one, other) - .5) < .02);
}

TEST_CASE("a ratio of 0 changes nothing, and what is not a number is not hidden") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Kernel* k : dropout_kernels()) {
    INFO(k->device << " " << k->version << " " << name_of(k->dtype));
    const std::vector<double> x = {1.5, -2, 0, 3, .25, 7, -8, 9, 10};
    CHECK(dropped(*k, {0, "fc6"}, x) == x);
    for (double y : dropped(*k, {.9, "fc6"}, std::vector<double>(64, nan))) CHECK(std::isnan(y));
  }
}

TEST_CASE("in place the kernels compute the same") {
  const DropoutAttrs attrs{.ratio = .3, .stream = "fc6"};
  const std::vector<double> x(1003, 2);
  for (const Kernel* k : dropout_kernels()) {
    INFO(k->device << " " << k->version << " " << name_of(k->dtype));
    const KernelOperand values({{1003}, k->dtype}, x), at({{2}, Dtype::i64}, {7, 3});
    const Dropout op(attrs);
    const std::vector<Tensor> in = {values.tensor(), at.tensor()}, out = {values.tensor()};
    k->run({.op = op, .in = in, .out = out});
    CHECK(to_double(values.tensor()) == dropped(*k, attrs, x));
  }
}

TEST_CASE("the gradient is dropped where the value was, and layers of other names differ") {
  Graph g(Dtype::f64);
  const Value x = g.input("x", {4000}), at = g.input("at", Spec{{2}, Dtype::i64});
  const Value y = dropout(g, x, at, {.ratio = .5, .stream = "fc6"});
  const Value z = dropout(g, x, at, {.ratio = .5, .stream = "fc7"});
  const Value of[] = {y}, seeds[] = {g.input("dy", {4000})}, wanted[] = {x};
  g.output("y", y);
  g.output("z", z);
  g.output("dx", gradients(g, of, seeds, wanted)[0]);
  const auto device = make_device("cpu");
  State state(*device);
  Session session(make_plan(g), state, {.arena = nullptr, .poison = true});
  session.set("x", std::vector<double>(4000, 1));
  session.set("dy", std::vector<double>(4000, 3));
  session.set("at", std::vector<int64_t>{1, 2});
  session.run();
  const std::vector<double> value = session.get("y"), other = session.get("z"), slope = session.get("dx");
  CHECK(value != other);
  for (size_t k = 0; k < value.size(); ++k) REQUIRE(slope[k] == 3 * value[k]);
  session.set("at", std::vector<int64_t>{1, 3});
  session.run();
  CHECK(session.get("y") != value);
}

TEST_CASE("dropout refuses ratios and operands that cannot be meant") {
  Graph g;
  const Value x = g.input("x", {4}), at = g.input("at", Spec{{2}, Dtype::i64});
  for (const double ratio : {-.1, 1.0, std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_AS(dropout(g, x, at, {ratio, "fc6"}), Error);
  CHECK_THROWS_AS(dropout(g, x, at, {.5, ""}), Error);
  CHECK_THROWS_AS(dropout(g, x, x, {.5, "fc6"}), Error);
  CHECK(Dropout({.5, "fc6"}).attributes() == "ratio=0.5 stream=fc6");
}
