// The optimizers' CUDA kernels, simulated: what a step that cannot be used leaves behind, and scalars that
// are read from the device's memory. Their numbers are compared with the CPU's by the generated tests.
#include <cmath>
#include <limits>
#include <vector>

#include "core/registry.h"
#include "cuda/register.h"
#include "optim/adam.h"
#include "optim/norm.h"
#include "optim/sgd.h"
#include "tests/unit/run_kernel.h"

using namespace millrace;

namespace {

const float kNan = std::numeric_limits<float>::quiet_NaN();
const float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kP = 1088;  // more than one block of threads, the last one in part

const Registry& registry() {
  static const bool registered = [] {
    cuda_sim::register_kernels(Registry::mutable_registry());
    return true;
  }();
  (void)registered;
  return Registry::get();
}

class Buffer {
 public:
  explicit Buffer(int64_t count, float value = 0)
      : operand_({{count}, Dtype::f32}, std::vector<double>(static_cast<size_t>(count), value)) {}

  float* data() { return operand_.tensor().as<float>(); }
  float& operator[](int64_t k) { return data()[k]; }
  Tensor tensor(Shape shape) const { return {operand_.tensor().data, shape, Dtype::f32}; }
  std::vector<char> bits() const {
    const Tensor& t = operand_.tensor();
    return {t.as<char>(), t.as<char>() + t.bytes()};
  }

 private:
  test::KernelOperand operand_;
};

// norm (1) of the `count` first elements of x.
void run_norm(const Kernel& kernel, Buffer& x, int64_t count, Buffer& norm) {
  const Norm op;
  const std::vector<Tensor> in = {x.tensor({count})}, out = {norm.tensor({1})};
  const std::vector<Spec> in_specs = {{{count}, Dtype::f32}}, out_specs = {{{1}, Dtype::f32}};
  const auto prepared = kernel.prepare ? kernel.prepare(op, in_specs, out_specs) : Prepared{};
  Buffer workspace(prepared->workspace_bytes / 4 + 1, kNan);
  kernel.run({.op = op, .in = in, .out = out, .workspace = workspace.data()});
}

// One optimizer on the simulated device, in place, and the norm before it.
struct Training {
  Buffer p{kP, .75f}, g{kP, .5f}, m{kP, .25f}, v{kP, .125f};
  Buffer multipliers{2 * kP / 64, 1}, rate{1, .1f}, norm{1}, loss{1, 1};

  void step(const Op& op, const Kernel& kernel) {
    run_norm(*registry().kernels("norm", "cuda-sim", Dtype::f32).front(), g, kP, norm);
    std::vector<Tensor> operands = {p.tensor({kP}), g.tensor({kP})}, results = {operands[0]};
    const bool adam = op.name() == "adam";
    if (adam) operands.push_back(m.tensor({kP}));
    operands.push_back(v.tensor({kP}));
    results.insert(results.end(), operands.begin() + 2, operands.end());
    operands.push_back(multipliers.tensor({kP / 64, 2}));
    for (Buffer* scalar : {&rate, &norm, &loss}) operands.push_back(scalar->tensor({1}));
    kernel.run({.op = op, .in = operands, .out = results});
  }
  std::vector<std::vector<char>> bits() const { return {p.bits(), m.bits(), v.bits()}; }
};

struct Optimizer {
  std::shared_ptr<const Op> op;
  const Kernel* kernel;
};

std::vector<Optimizer> optimizers() {
  std::vector<Optimizer> all;
  const GradientAttrs gradient{.gradient_scale = .5, .weight_decay = .1, .clip = 1};
  for (const Kernel* k : registry().kernels("adam", "cuda-sim", Dtype::f32))
    all.push_back({make_op<Adam>(AdamAttrs{.gradient = gradient}), k});
  for (const Kernel* k : registry().kernels("sgd", "cuda-sim", Dtype::f32))
    all.push_back({make_op<Sgd>(SgdAttrs{.gradient = gradient}), k});
  return all;
}

}  // namespace

TEST_CASE("a step whose gradient or loss is not finite changes no bit, and the next one moves") {
  const std::vector<Optimizer> all = optimizers();
  REQUIRE(all.size() == 4);
  for (const Optimizer& o : all) {
    INFO(o.op->name() << " " << o.kernel->version);
    for (const float bad : {kNan, kInfinity, -kInfinity}) {
      Training t;
      t.step(*o.op, *o.kernel);
      const auto before = t.bits();
      t.g[kP - 1] = bad;  // seen by the norm
      t.step(*o.op, *o.kernel);
      CHECK(t.bits() == before);
      t.g[kP - 1] = .5f;
      t.loss[0] = bad;
      t.step(*o.op, *o.kernel);
      CHECK(t.bits() == before);
      t.loss[0] = 1;
      t.step(*o.op, *o.kernel);
      CHECK(t.p.bits() != before[0]);
      for (int64_t k = 0; k < kP; ++k) REQUIRE(std::isfinite(t.p[k]));
    }
  }
}

TEST_CASE("blocks whose rate has the factor 0 keep every bit") {
  for (const Optimizer& o : optimizers()) {
    INFO(o.op->name() << " " << o.kernel->version);
    Training t;
    for (int64_t block = 0; block < kP / 64; block += 2) t.multipliers[2 * block] = 0;
    t.step(*o.op, *o.kernel);
    for (int64_t k = 0; k < kP; ++k) {
      const bool fixed = k / 64 % 2 == 0;
      REQUIRE((t.p[k] == .75f) == fixed);
      REQUIRE((t.v[k] == .125f) == fixed);
    }
  }
}

TEST_CASE("the rate is read when the kernel runs: with 0 parameters stay and moments move") {
  for (const Optimizer& o : optimizers()) {
    INFO(o.op->name() << " " << o.kernel->version);
    Training t;
    for (int64_t k = 0; k < kP; ++k) t.v[k] = 0;
    t.rate[0] = 0;
    t.step(*o.op, *o.kernel);
    CHECK(t.p[kP - 1] == .75f);
    t.rate[0] = .1f;
    t.step(*o.op, *o.kernel);
    CHECK(t.p[kP - 1] != .75f);
  }
}

TEST_CASE("the norm shows what is not finite wherever it stands, and squares do not overflow") {
  const auto kernels = registry().kernels("norm", "cuda-sim", Dtype::f32);
  REQUIRE(kernels.size() == 2);
  constexpr int64_t kCount = 9000;  // a whole run of the fast kernel and a rest
  for (const Kernel* kernel : kernels) {
    INFO(kernel->version);
    for (const int64_t place : {0, 1023, 8191, 8192, 8999}) {
      for (const float bad : {kNan, kInfinity, -kInfinity}) {
        Buffer x(kCount, 1), norm(1);
        x[place] = bad;
        run_norm(*kernel, x, kCount, norm);
        CHECK(!std::isfinite(norm[0]));
      }
    }
    Buffer large(2, 3e30f), norm(1);
    large[1] = 4e30f;
    run_norm(*kernel, large, 2, norm);
    CHECK(norm[0] == Approx(5e30f));
    Buffer none(1);
    run_norm(*kernel, none, 0, norm);
    CHECK(norm[0] == 0);
  }
}
