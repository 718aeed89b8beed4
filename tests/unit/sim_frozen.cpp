// A frozen net under one that trains, on the simulated GPU: fp32 and bf16, whose copy of frozen weights
// nobody but ParamStore writes.
#include "cuda/register.h"
#include "tests/unit/frozen_net.h"
#include "tests/unit/message_of.h"

using namespace millrace;
using namespace millrace::test;

namespace {

// The copy in bf16 is that of the values, bit for bit.
void require_copy(const State& state, const char* buffer, const char* copy) {
  const int64_t count = state.at(buffer).count();
  REQUIRE(state.at(copy).count() == count);
  std::vector<float> exact(static_cast<size_t>(count));
  std::vector<Bf16> rounded(exact.size());
  state.read(buffer, 0, count, exact.data());
  state.read(copy, 0, count, rounded.data());
  int64_t different = 0, not_zero = 0;
  for (size_t k = 0; k < exact.size(); ++k) {
    different += rounded[k] != round_to_bf16(exact[k]);
    not_zero += to_float(rounded[k]) != 0;
  }
  CHECK(different == 0);
  CHECK(not_zero > count / 4);
}

}  // namespace

TEST_CASE("a frozen MotionNet under a head that trains, on the simulated GPU") {
  cuda_sim::register_backend(Registry::mutable_registry());
  check_frozen_motionnet("cuda-sim", Precision::fp32, {.kind = OptimizerKind::sgd, .weight_decay = 1e-3});
}

TEST_CASE("the same in bf16, over micro-batches") {
  cuda_sim::register_backend(Registry::mutable_registry());
  check_frozen_motionnet("cuda-sim", Precision::bf16,
                         {.kind = OptimizerKind::sgd, .weight_decay = 1e-3, .accumulate = 2});
}

TEST_CASE("frozen weights of a bf16 plan are read from their copy, which follows what is loaded") {
  cuda_sim::register_backend(Registry::mutable_registry());
  StackedRun run("cuda-sim", Precision::bf16, {{"motionnet.*", 0}}, {.kind = OptimizerKind::sgd});
  CHECK(run.plans[0].state.count(kFrozenBf16) == 1);
  const auto copies = [&] {
    require_copy(run.state, kFrozen, kFrozenBf16);
    require_copy(run.state, kParams, kParamsBf16);
  };
  copies();
  run.step(0);
  copies();
  StackedRun other("cuda-sim", Precision::bf16, {}, {.kind = OptimizerKind::sgd});
  other.params.initialise(other.state, Dtype::f32, 77);
  const TemporaryFolder folder;
  other.params.save(folder / "w", other.state, {{kParams, ""}}, {});
  run.params.load(SafetensorsReader(folder / "w"), run.state, {{kParams, ""}});
  copies();
  CHECK(run.values(kParams) == other.values(kParams));

  // A plan bound to a State without the copy.
  const auto device = make_device("cuda-sim");
  State empty(*device);
  CHECK(message_of([&] { Session(run.plans[0], empty); }).find("ParamStore") != std::string::npos);
}
