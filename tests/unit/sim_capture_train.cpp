// MotionNet's training step recorded and replayed on the simulated GPU: weights, moments and metrics have the
// bits of steps that are queued node by node, with one batch an update and with three, in fp32 and bf16.
#include <map>

#include "core/session.h"
#include "layers/normalize_image.h"
#include "nets/motion_loss.h"
#include "optim/metrics.h"
#include "optim/update.h"
#include "tests/catch.h"
#include "tests/unit/capture_support.h"

namespace millrace {
namespace {

constexpr int64_t kBatch = 2, kSize = 16, kFrames = 2, kSteps = 6;
constexpr MetricsRing kRing{.rows = 5, .columns = 16};

struct Setting {
  bool capture = true;
  int64_t accumulate = 1;
  Precision precision = Precision::fp32;
  bool wait = false;  // after each step
};

Graph graph_of(const std::string& name, ParamStore& params, const OptimizerOptions& optimizer) {
  Graph g;
  if (name == "update") {
    update_step(g, params.layout(), optimizer, kRing);
    return g;
  }
  const Value clip = g.input("clip", Spec{{kBatch, kSize, kSize, 3 * kFrames}, Dtype::u8});
  const Value images = normalize_image(g, clip);
  const MotionNetFlows flows =
      motionnet(g, params, images, {.frames = kFrames, .channels = .1, .kind = MotionNetKind::tiny});
  const MotionLoss loss = motion_loss(g, images, flows, {.frames = kFrames});
  std::vector<Value> values{loss.loss};
  for (const LossTerm& term : loss.terms) values.push_back(term.value);
  if (name == "step") {
    train_step(g, loss.loss, params.layout(), optimizer, StepMetrics{kRing, values});
    return g;
  }
  name == "first" ? first_micro_step(g, loss.loss, params.layout())
                  : next_micro_step(g, loss.loss, params.layout());
  record_metrics(g, kRing, values);
  return g;
}

std::vector<uint8_t> clip_of(int64_t number) {
  std::vector<uint8_t> clip(static_cast<size_t>(kBatch * kSize * kSize * 3 * kFrames));
  Random random(static_cast<uint64_t>(number));
  for (uint8_t& v : clip) v = static_cast<uint8_t>(random.integer(0, 255));
  return clip;
}

struct Trained {
  std::map<std::string, std::vector<float>> state;
  int64_t replays = 0, waits = 0;
};

Trained train(const Setting& s) {
  test::SimGpu machine;
  State state(machine.device);
  ParamStore params("cuda-sim", s.precision);
  const OptimizerOptions optimizer{.weight_decay = 4e-4, .clip = 1, .accumulate = s.accumulate};
  std::map<std::string, Plan> plans;
  const std::vector<std::string> names = s.accumulate == 1
                                             ? std::vector<std::string>{"step"}
                                             : std::vector<std::string>{"first", "next", "update"};
  for (const std::string& name : names)
    plans[name] =
        make_plan(graph_of(name, params, optimizer), {.device = "cuda-sim", .precision = s.precision});
  params.initialise(state, Dtype::f32, 1);
  int64_t arena_bytes = 0;
  for (const auto& [name, plan] : plans) arena_bytes = std::max(arena_bytes, plan.arena_bytes);
  Memory arena(machine.device, arena_bytes);
  std::map<std::string, std::unique_ptr<Session>> sessions;
  for (const auto& [name, plan] : plans)
    sessions[name] =
        std::make_unique<Session>(plan, state, SessionOptions{.arena = &arena, .capture = s.capture});
  machine.device.synchronize();
  const int64_t waits = machine.driver->calls("synchronize_stream");
  for (int64_t step = 0; step < kSteps; ++step) {
    for (int64_t k = 0; k < s.accumulate; ++k) {
      Session& session = *sessions.at(s.accumulate == 1 ? "step" : k == 0 ? "first" : "next");
      session.set("clip", clip_of(step * s.accumulate + k));
      if (s.accumulate == 1) session.set_scalar("rate", 1e-4 * static_cast<double>(1 + step));
      session.run();
    }
    if (s.accumulate > 1) {
      sessions.at("update")->set_scalar("rate", 1e-4 * static_cast<double>(1 + step));
      sessions.at("update")->run();
    }
    if (s.wait) machine.device.synchronize();
  }
  Trained result;
  result.waits = machine.driver->calls("synchronize_stream") - waits;
  for (const char* buffer : {kParams, kGrads, "moment1", "moment2", kMetrics, kMetricsAt}) {
    const int64_t count = state.at(buffer).count();
    result.state[buffer].resize(static_cast<size_t>(count));
    state.read(buffer, 0, count, result.state[buffer].data());
  }
  result.replays = machine.driver->calls("replay");
  return result;
}

}  // namespace

TEST_CASE("recorded training steps give the bits of those that are queued node by node") {
  const auto accumulate = GENERATE(int64_t{1}, int64_t{3});
  const auto precision = GENERATE(Precision::fp32, Precision::bf16);
  INFO("accumulate " << accumulate << ", bf16 " << (precision == Precision::bf16));
  const Trained eager =
      train({.capture = false, .accumulate = accumulate, .precision = precision, .wait = true});
  const Trained captured = train({.accumulate = accumulate, .precision = precision});
  for (const auto& [buffer, numbers] : eager.state) {
    INFO(buffer);
    CHECK((captured.state.at(buffer) == numbers));
  }
  CHECK(eager.state.at(kParams) != std::vector<float>(eager.state.at(kParams).size()));
  CHECK(eager.state.at(kMetricsAt)[1] == 0);
  CHECK(eager.replays == 0);
  // Of first and update kSteps runs each, of next twice as many, but for two of each.
  CHECK(captured.replays == (accumulate == 1 ? kSteps - 2 : 4 * kSteps - 6));
  CHECK(captured.waits == 0);
}

}  // namespace millrace
