// A whole training step of MotionNet on the simulated GPU, held against the CPU: losses, gradients and Adam's
// updates of three steps. Every kernel is the CUDA one but for the convolutions, which are the CPU's plain
// loops.
#include <fmt/format.h>

#include <cmath>
#include <map>

#include "core/registry.h"
#include "core/rng.h"
#include "core/session.h"
#include "cuda/register.h"
#include "layers/normalize_image.h"
#include "nets/motion_loss.h"
#include "optim/update.h"
#include "tests/catch.h"

using namespace millrace;

namespace {

constexpr int64_t kBatch = 2, kSize = 64, kFrames = 3, kSteps = 3;
constexpr double kRate = 1e-4;

using Numbers = std::vector<float>;

struct Step {
  std::map<std::string, double> losses;  // and the gradient's norm
  Numbers gradient, parameters;
};

Graph training_graph(ParamStore& params) {
  Graph g;
  const Value clip = g.input("clip", Spec{{kBatch, kSize, kSize, 3 * kFrames}, Dtype::u8});
  const Value images = normalize_image(g, clip);
  const MotionNetFlows flows = motionnet(g, params, images, {.frames = kFrames, .channels = .05});
  const MotionLoss loss = motion_loss(g, images, flows, {.frames = kFrames});
  for (const LossTerm& term : loss.terms) g.output(term.name, term.value);
  g.output("loss", loss.loss);
  train_step(g, loss.loss, params.layout(), OptimizerOptions{.weight_decay = 4e-4});
  return g;
}

// Waves that move by a pixel and a half a frame, others in each step.
std::vector<uint8_t> clip_of(int64_t step) {
  std::vector<uint8_t> clip;
  const auto wave = [](double at, double phase) { return std::sin(at + phase); };
  for (int64_t n = 0; n < kBatch; ++n) {
    for (int64_t i = 0; i < kSize; ++i) {
      for (int64_t j = 0; j < kSize; ++j) {
        for (int64_t t = 0; t < kFrames; ++t) {
          for (int64_t c = 0; c < 3; ++c) {
            const double phase = static_cast<double>(c + 2 * n + 3 * step);
            const double x = static_cast<double>(j) + 1.5 * static_cast<double>(t),
                         y = static_cast<double>(i);
            clip.push_back(static_cast<uint8_t>(128 + 50 * wave(.31 * x + .17 * y, phase) +
                                                50 * wave(.23 * y - .11 * x, 2 * phase)));
          }
        }
      }
    }
  }
  return clip;
}

struct Trained {
  std::vector<Step> steps;
  std::map<std::string, int64_t> versions;  // of kernels -> nodes
};

Trained train(const std::string& name) {
  const auto device = make_device(name);
  State state(*device);
  ParamStore params;
  const Graph graph = training_graph(params);
  params.initialise(state, Dtype::f32, 1);
  Session session(make_plan(graph, {.device = device->name()}), state, {.arena = nullptr, .poison = true});
  Trained result;
  for (const PlanStep& step : session.plan().steps) ++result.versions[step.kernel->version];
  const int64_t count = params.layout().total;
  for (int64_t k = 0; k < kSteps; ++k) {
    session.set("clip", clip_of(k));
    session.set_scalar("rate", update_rate(OptimizerOptions{}, kRate, k + 1));
    session.run();
    Step& step = result.steps.emplace_back();
    for (const auto& [output, value] : session.plan().outputs)
      step.losses[output] = session.get_scalar(output);
    step.gradient.resize(static_cast<size_t>(count));
    step.parameters.resize(static_cast<size_t>(count));
    state.read(kGrads, 0, count, step.gradient.data());
    state.read(kParams, 0, count, step.parameters.data());
  }
  return result;
}

// |a - b| / |b| in L2.
double distance(const Numbers& a, const Numbers& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, size = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    difference += std::pow(static_cast<double>(a[k]) - static_cast<double>(b[k]), 2);
    size += std::pow(static_cast<double>(b[k]), 2);
  }
  REQUIRE(size > 0);
  return std::sqrt(difference / size);
}

}  // namespace

TEST_CASE("three training steps of MotionNet on the simulated GPU are those of the CPU") {
  cuda_sim::register_backend(Registry::mutable_registry());
  const Trained cpu = train("cpu"), gpu = train("cuda-sim");
  for (size_t k = 0; k < cpu.steps.size(); ++k) {
    const Step &want = cpu.steps[k], &got = gpu.steps[k];
    INFO("step " << k + 1);
    REQUIRE(want.losses.size() == got.losses.size());
    for (const auto& [term, value] : want.losses) {
      INFO(term << ": " << got.losses.at(term) << ", on the CPU " << value);
      CHECK(std::abs(got.losses.at(term) - value) <= 1e-5 * std::abs(value));
    }
    const double gradient = distance(got.gradient, want.gradient);
    const double parameters = distance(got.parameters, want.parameters);
    fmt::print("step {}: gradients differ by {:.1e}, parameters by {:.1e}\n", k + 1, gradient, parameters);
    CHECK(gradient <= 1e-4);
    CHECK(parameters <= 1e-5);
  }
  // Something was learnt, and by these kernels.
  CHECK(distance(cpu.steps[2].parameters, cpu.steps[0].parameters) > 1e-3);
  CHECK(gpu.versions.at("cpu") > 20);
  for (const auto& [version, nodes] : gpu.versions) fmt::print("{} nodes by version {}\n", nodes, version);
}
