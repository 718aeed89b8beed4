// A small net under another, and a training step of what is not frozen: how the tests of frozen parameters
// build it. MotionNet's flows of the finest level go through a convolution and a fully connected layer to a
// cross-entropy.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "core/precision_pass.h"
#include "core/registry.h"
#include "core/session.h"
#include "layers/average_pool.h"
#include "layers/conv2d.h"
#include "layers/leaky_relu.h"
#include "layers/linear.h"
#include "layers/normalize_image.h"
#include "losses/softmax_cross_entropy.h"
#include "nets/motionnet.h"
#include "optim/update.h"
#include "tests/catch.h"
#include "tests/unit/temporary_folder.h"

namespace millrace::test {

constexpr int64_t kFrozenBatch = 2, kFrozenExtent = 64, kFrozenFrames = 3, kFrozenClasses = 5;

struct StackedLoss {
  Graph g;
  Value loss;
};

inline StackedLoss stacked_loss(ParamStore& params, Dtype real = Dtype::f32) {
  StackedLoss net{.g = Graph(real), .loss = {}};
  Graph& g = net.g;
  const Value clip =
      g.input("clip", Spec{{kFrozenBatch, kFrozenExtent, kFrozenExtent, 3 * kFrozenFrames}, Dtype::u8});
  const MotionNetFlows flows =
      motionnet(g, params, normalize_image(g, clip), {.frames = kFrozenFrames, .channels = .04});
  const Value flow = flows.at(kFinestLevel);
  const Graph::Scope scope(g, "temporal");
  const auto parameter = [&](const std::string& name, const Shape& shape, const ParamOptions& o) {
    return params.parameter(g, "temporal." + name, shape, o);
  };
  Value x = conv2d(g, flow, parameter("conv1_1.weight", {8, 3, 3, g.shape(flow)[3]}, {.stddev = .3}),
                   parameter("conv1_1.bias", {8}, {.lr_mult = 2, .decay_mult = 0}), {.pad = 1});
  x = average_pool(g, leaky_relu(g, x, {.slope = 0}), {.kernel = 8, .stride = 8});
  const Shape in = g.shape(x);
  x = linear(g, x,
             parameter("fc8.weight", {kFrozenClasses, in[1], in[2], in[3]}, {.stddev = .1, .flat = true}),
             parameter("fc8.bias", {kFrozenClasses}, {.lr_mult = 2, .decay_mult = 0}));
  net.loss = softmax_cross_entropy(g, x, g.input("labels", Spec{{kFrozenBatch}, Dtype::i32})).loss;
  g.output("loss", net.loss);
  return net;
}

inline PlanOptions plan_for(const std::string& device, Precision precision) {
  return {.device = device, .precision = precision};
}

// Some steps of training, in one graph or over micro-batches.
class StackedRun {
 public:
  StackedRun(const std::string& device, Precision precision, std::vector<ParamRule> rules,
             const OptimizerOptions& optimizer)
      : optimizer_(optimizer), device_(make_device(device)), state(*device_), params(device, precision) {
    params.set_rules(std::move(rules));
    const auto add = [&](Graph&& g) { plans.push_back(make_plan(g, plan_for(device, precision))); };
    if (optimizer.accumulate == 1) {
      StackedLoss net = stacked_loss(params);
      train_step(net.g, net.loss, params.layout(), optimizer);
      add(std::move(net.g));
    } else {
      StackedLoss first = stacked_loss(params), next = stacked_loss(params);
      first_micro_step(first.g, first.loss, params.layout());
      next_micro_step(next.g, next.loss, params.layout());
      Graph update;
      update_step(update, params.layout(), optimizer);
      add(std::move(first.g));
      add(std::move(next.g));
      add(std::move(update));
    }
    params.initialise(state, Dtype::f32, 3);
    for (const Plan& plan : plans)
      sessions_.push_back(std::make_unique<Session>(plan, state, SessionOptions{.poison = true}));
  }

  void step(int64_t number, double rate = 1e-2) {
    const auto micro = [&](Session& session, int64_t part) {
      std::vector<uint8_t> clip(
          static_cast<size_t>(kFrozenBatch * kFrozenExtent * kFrozenExtent * 3 * kFrozenFrames));
      for (size_t k = 0; k < clip.size(); ++k) {
        const uint64_t mixed = (k + 1) * 0x9E3779B97F4A7C15u * static_cast<uint64_t>(number * 16 + part + 1);
        clip[k] = static_cast<uint8_t>(mixed >> 40);
      }
      session.set("clip", clip);
      session.set("labels", std::vector<int32_t>{static_cast<int32_t>(number % kFrozenClasses), 2});
      if (session.plan().inputs.count("rate") > 0) session.set_scalar("rate", rate);
      session.run();
      CHECK(std::isfinite(session.get_scalar("loss")));
    };
    micro(*sessions_.front(), 0);
    if (optimizer_.accumulate == 1) return;
    for (int64_t part = 1; part < optimizer_.accumulate; ++part) micro(*sessions_[1], part);
    sessions_[2]->set_scalar("rate", rate);
    sessions_[2]->run();
  }

  // By name, in the order of files, which is one for all layouts.
  std::map<std::string, std::vector<float>> values(const char* buffer) const {
    const TemporaryFolder folder;
    params.save(folder / "numbers", state, {{buffer, ""}}, {});
    const SafetensorsReader file(folder / "numbers");
    std::map<std::string, std::vector<float>> values;
    for (const TensorEntry& e : file.tensors())
      file.read(e.name, std::span(values[e.name] = std::vector<float>(static_cast<size_t>(e.count()))));
    return values;
  }

 private:
  OptimizerOptions optimizer_;
  std::unique_ptr<Device> device_;

 public:
  State state;
  ParamStore params;
  std::vector<Plan> plans;

 private:
  std::vector<std::unique_ptr<Session>> sessions_;
};

// Nodes of the backward pass whose names begin so: gradients() puts them under "d".
inline int64_t backward_nodes(const Plan& plan, const std::string& prefix) {
  return std::count_if(plan.steps.begin(), plan.steps.end(), [&](const PlanStep& step) {
    return step.name.starts_with(prefix) && step.name.find("/d/") != std::string::npos;
  });
}

// Freezes MotionNet, trains, and compares with the same step unfrozen.
inline void check_frozen_motionnet(const std::string& device, Precision precision,
                                   const OptimizerOptions& optimizer) {
  StackedRun frozen(device, precision, {{"motionnet.*", 0}}, optimizer),
      whole(device, precision, {}, optimizer);
  CHECK(backward_nodes(whole.plans[0], "motionnet/") > 30);
  for (const Plan& plan : frozen.plans) CHECK(backward_nodes(plan, "motionnet/") == 0);
  CHECK(backward_nodes(frozen.plans[0], "temporal/") > 3);
  const auto weight_gradients = [](const Plan& plan) {
    return std::count_if(plan.steps.begin(), plan.steps.end(),
                         [](const PlanStep& step) { return step.op->name() == "conv2d_dw"; });
  };
  CHECK(weight_gradients(whole.plans[0]) > 20);
  CHECK(weight_gradients(frozen.plans[0]) == 1);
  CHECK(frozen.params.count() == whole.params.count());
  CHECK(frozen.params.trained_count() < 3000);
  CHECK(frozen.state.at(kGrads).count() == frozen.params.layout().total);
  const auto start = frozen.values(kParams);
  CHECK(start == whole.values(kParams));  // what is drawn does not depend on what trains
  frozen.step(0);
  whole.step(0);
  const auto gradient = frozen.values(kGrads), all = whole.values(kGrads);
  CHECK(gradient.size() == 4);
  CHECK(all.size() > 40);
  for (const auto& [name, values] : gradient) {
    INFO(name);
    CHECK(std::any_of(values.begin(), values.end(), [](float v) { return v != 0; }));
    CHECK(values == all.at(name));
  }
  for (int64_t k = 1; k < 3; ++k) frozen.step(k);
  for (const auto& [name, values] : frozen.values(kParams)) {
    INFO(name);
    CHECK((values == start.at(name)) == frozen.params.is_frozen(name));
    CHECK(frozen.params.is_frozen(name) == name.starts_with("motionnet."));
  }
  for (const std::string& buffer : optimizer_buffers(optimizer.kind))
    CHECK(frozen.values(buffer.c_str()).size() == 4);
}

}  // namespace millrace::test
