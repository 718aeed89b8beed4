// Steps of MotionNet in bf16 on the simulated GPU, where values are bf16, against the CPU's emulation, where
// they are f32 numbers that bf16 holds.
#include "core/flat_layout.h"
#include "cuda/register.h"
#include "tests/unit/bf16_net.h"

using namespace millrace;
using namespace millrace::test;

namespace {

constexpr NetSize kNet{};
constexpr int64_t kSteps = 3;
constexpr double kRate = 1e-4;

// The copy of the weights is that of the parameters, bit for bit.
void require_copy(const State& state) {
  const int64_t count = state.at(kParams).count();
  std::vector<float> exact(static_cast<size_t>(count));
  std::vector<Bf16> copy(exact.size());
  state.read(kParams, 0, count, exact.data());
  state.read(kParamsBf16, 0, count, copy.data());
  int64_t different = 0, not_zero = 0;
  for (size_t k = 0; k < copy.size(); ++k) {
    different += copy[k] != round_to_bf16(exact[k]);
    not_zero += to_float(copy[k]) != 0;
  }
  CHECK(different == 0);
  CHECK(not_zero > count / 2);
}

// The emulation rounds what a fused node does not write, and the CPU fuses less.
PlanOptions without_fusions(const std::string& device, Precision precision) {
  PlanOptions options{.device = device, .precision = precision};
  for (const Fusion& fusion : Registry::get().fusions()) options.fusions[fusion.op] = false;
  return options;
}

struct Trained {
  std::map<std::string, double> outputs;
  std::vector<float> gradient, parameters;
};

class Run {
 public:
  Run(const std::string& name, Precision precision, OptimizerKind kind, bool fused = false)
      : kind_(kind), device_(make_device(name)), state_(*device_), params_(name, precision) {
    const Graph graph = training_graph(params_, kNet, {.kind = kind, .weight_decay = 4e-4});
    params_.initialise(state_, Dtype::f32, 1);
    const PlanOptions options =
        fused ? PlanOptions{.device = name, .precision = precision} : without_fusions(name, precision);
    session_ = std::make_unique<Session>(make_plan(graph, options), state_, SessionOptions{.poison = true});
    for (const std::string& buffer : optimizer_buffers(kind)) parts_.push_back({buffer, buffer + "/"});
  }

  Trained step(int64_t k) {
    session_->set("clip", waves(kNet, 1, k));
    session_->set_scalar("rate", update_rate({.kind = kind_}, kRate, k + 1));
    session_->run();
    Trained result;
    for (const auto& [name, value] : session_->plan().outputs)
      result.outputs[name] = session_->get_scalar(name);
    result.gradient = in_file_order(params_, state_, kGrads);
    result.parameters = in_file_order(params_, state_, kParams);
    return result;
  }
  // Goes on from where the other is.
  void follow(const Run& other) {
    const TemporaryFolder folder;
    other.params_.save(folder / "state", other.state_, parts_, {});
    params_.load(SafetensorsReader(folder / "state"), state_, parts_);
  }
  const State& state() const { return state_; }
  const Plan& plan() const { return session_->plan(); }

 private:
  OptimizerKind kind_;
  std::unique_ptr<Device> device_;
  State state_;
  ParamStore params_;
  std::unique_ptr<Session> session_;
  std::vector<ParamStore::Part> parts_{{kParams, ""}};
};

double worst_output(const Trained& got, const Trained& want) {
  double worst = 0;
  for (const auto& [name, value] : want.outputs)
    worst = std::max(worst, std::abs(got.outputs.at(name) - value) / std::abs(value));
  return worst;
}

}  // namespace

// Each step begins with equal weights. Where a sum in another order moves a number across the border of a
// rounding, what follows changes by a rounding too; where none does, the gradients agree to the last digits
// of f32. So each step must be nearer to the emulation than that is to fp32, and the best of them a tenth of
// it.
TEST_CASE("three bf16 steps on the simulated GPU are those of the CPU's emulation, and near fp32's") {
  cuda_sim::register_backend(Registry::mutable_registry());
  double best = 1;
  for (const OptimizerKind kind : {OptimizerKind::adam, OptimizerKind::sgd}) {
    Run gpu("cuda-sim", Precision::bf16, kind), emulated("cpu", Precision::bf16, kind),
        exact("cpu", Precision::fp32, kind);
    CHECK(!emulated.state().has(kParamsBf16));
    require_copy(gpu.state());
    for (int64_t k = 0; k < kSteps; ++k) {
      if (k > 0) {
        emulated.follow(gpu);
        exact.follow(gpu);
      }
      const Trained got = gpu.step(k), want = emulated.step(k), fp32 = exact.step(k);
      require_copy(gpu.state());
      const double near = distance(got.gradient, want.gradient), far = distance(got.gradient, fp32.gradient);
      INFO("step " << k + 1 << ": outputs " << worst_output(got, want) << ", gradient " << near
                   << ", parameters " << distance(got.parameters, want.parameters) << "; to fp32 "
                   << worst_output(got, fp32) << ", " << far);
      CHECK(worst_output(got, want) <= 5e-3);
      CHECK(near < far);
      best = std::min(best, near);
      // 1.4e-4 where the CPU's convolutions are Winograd's: Adam's first steps are signs of gradients.
      CHECK(distance(got.parameters, want.parameters) <= 3e-4);
      CHECK(worst_output(got, fp32) <= 2e-2);
      CHECK(far <= 5e-2);
      CHECK(far >= 3e-3);  // else nothing was rounded
    }
  }
  CHECK(best <= 1e-3);
}

TEST_CASE("with all its fusions a bf16 step on the simulated GPU casts no more, and is near fp32's") {
  cuda_sim::register_backend(Registry::mutable_registry());
  Run gpu("cuda-sim", Precision::bf16, OptimizerKind::adam, true),
      exact("cpu", Precision::fp32, OptimizerKind::adam);
  int64_t casts = 0;
  for (const PlanStep& step : gpu.plan().steps) casts += step.op->name() == "cast";
  CHECK(casts == 9);  // the flows that are upsampled, and the gradients of all
  const Trained got = gpu.step(0), want = exact.step(0);
  CHECK(worst_output(got, want) <= 2e-2);
  CHECK(distance(got.gradient, want.gradient) <= 5e-2);
  CHECK(distance(got.gradient, want.gradient) >= 3e-3);
  require_copy(gpu.state());
}

TEST_CASE("bf16 micro-batches on the simulated GPU add up to those of the CPU's emulation") {
  cuda_sim::register_backend(Registry::mutable_registry());
  std::vector<std::vector<float>> gradients, parameters;
  for (const std::string name : {"cuda-sim", "cpu"}) {
    const auto device = make_device(name);
    State state(*device);
    ParamStore params(name, Precision::bf16);
    const PlanOptions options = without_fusions(name, Precision::bf16);
    const OptimizerOptions optimizer{.accumulate = 3};
    LossGraph first = loss_graph(params, kNet), next = loss_graph(params, kNet);
    Graph update;
    first_micro_step(first.g, first.loss, params.layout());
    next_micro_step(next.g, next.loss, params.layout());
    update_step(update, params.layout(), optimizer);
    params.initialise(state, Dtype::f32, 1);
    Session a(make_plan(first.g, options), state), b(make_plan(next.g, options), state),
        c(make_plan(update, options), state);
    for (int64_t k = 0; k < optimizer.accumulate; ++k) {
      Session& session = k == 0 ? a : b;
      session.set("clip", waves(kNet, 1, k));
      session.run();
    }
    c.set_scalar("rate", update_rate(optimizer, kRate, 1));
    c.run();
    gradients.push_back(in_file_order(params, state, kGrads));
    parameters.push_back(in_file_order(params, state, kParams));
    if (name == "cuda-sim") require_copy(state);
  }
  CHECK(distance(gradients[0], gradients[1]) <= 1e-2);
  CHECK(distance(parameters[0], parameters[1]) <= 1e-4);
}
