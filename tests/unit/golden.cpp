// MotionNet against PyTorch: flows, each term of the loss, each gradient and Adam's update, as
// tests/golden/motionnet.py computed them in double from the paper and the authors' layers.
#include "tests/unit/golden.h"

#include <cmath>
#include <map>

#include "layers/normalize_image.h"
#include "nets/motion_loss.h"
#include "optim/update.h"
#include "tests/catch.h"

using namespace millrace;
using namespace millrace::test;

namespace {

constexpr double kWeightDecay = 4e-4, kLearningRate = 1e-3;
constexpr int64_t kAdamStep = 3;

struct Setting {
  std::string name;
  int64_t frames, batch, height, width;
  double channels = .125;
  LossNormalization normalization = LossNormalization::caffe;
  bool adam = false;
};

const Setting kSmall{.name = "small", .frames = 3, .batch = 2, .height = 64, .width = 96};
const Setting kClip{.name = "clip", .frames = 11, .batch = 1, .height = 224, .width = 224};

using Results = std::map<std::string, Numbers>;

// Flows and losses, as PyTorch lays them out.
void read_outputs(const Session& session, Results& results) {
  for (const auto& [name, value] : session.plan().outputs) {
    const Shape shape = session.output(name).shape;
    const bool flow = name.rfind("flow", 0) == 0;
    results[name] = flow ? channels_first(session.get(name), shape) : session.get(name);
  }
}

// What the engine makes of a case: all that the file has of it.
Results evaluate(const Setting& c, Dtype real) {
  Graph g(real);
  ParamStore params;
  const Value clip = g.input("clip", Spec{{c.batch, c.height, c.width, 3 * c.frames}, Dtype::u8});
  const Value images = normalize_image(g, clip);
  const MotionNetFlows flows = motionnet(g, params, images, {.frames = c.frames, .channels = c.channels});
  const MotionLoss loss =
      motion_loss(g, images, flows, {.frames = c.frames, .normalization = c.normalization});
  for (int l = kFinestLevel; l <= kCoarsestLevel; ++l) g.output("flow" + std::to_string(l), flows.at(l));
  for (const LossTerm& term : loss.terms) g.output(term.name, term.value);
  g.output("loss", loss.loss);
  // The file has the gradient of biases that do not train too.
  std::vector<Value> frozen;
  for (const FlatSlice& slice : params.frozen().slices)
    frozen.push_back(params.parameter(g, slice.name, slice.shape, {}));
  const std::vector<Value> d = gradients(g, loss.loss, frozen);
  for (size_t k = 0; k < d.size(); ++k) g.output("gradient/" + g.info(frozen[k]).name, d[k]);
  const OptimizerOptions adam{.weight_decay = kWeightDecay};
  if (c.adam)
    train_step(g, loss.loss, params.layout(), adam);
  else
    first_micro_step(g, loss.loss, params.layout());

  const auto device = make_device("cpu");
  State state(*device);
  params.initialise(state, real, 1);  // the multipliers; the values are replaced
  Session session(make_plan(g), state, {.arena = nullptr, .poison = c.channels < 1});
  const FlatLayout& layout = params.layout();
  for (const FlatSlice& slice : layout.slices) write_slice(state, kParams, slice, made_parameter(slice));
  for (const FlatSlice& slice : params.frozen().slices)
    write_slice(state, kFrozen, slice, made_parameter(slice));
  session.set("clip", made_clips({c.batch, c.height, c.width, c.frames}));
  if (c.adam) {
    session.set_scalar("rate", update_rate(adam, kLearningRate, kAdamStep));
    for (const FlatSlice& slice : layout.slices) {
      write_slice(state, "moment1", slice, made_moment(slice, 1));
      write_slice(state, "moment2", slice, made_moment(slice, 2));
    }
  }
  Results results;
  session.run();
  read_outputs(session, results);
  results.erase("gradient_norm");
  for (const FlatSlice& slice : layout.slices) {
    results["gradient/" + slice.name] = read_slice(state, kGrads, slice);
    if (!c.adam) continue;
    Numbers update = read_slice(state, kParams, slice);
    const Numbers before = made_parameter(slice);
    for (size_t k = 0; k < update.size(); ++k) update[k] -= before[k];
    results["adam/" + slice.name] = std::move(update);
  }
  for (const FlatSlice& slice : params.frozen().slices) {
    CHECK(read_slice(state, kFrozen, slice) == made_parameter(slice));
    if (c.adam) results["adam/" + slice.name] = Numbers(static_cast<size_t>(slice.shape.count()));
  }
  return results;
}

struct Tolerance {
  double flow, term, gradient;
  bool of_total;  // a term's error is measured against the whole loss, not against the term
};
constexpr Tolerance kDouble{.flow = 1e-9, .term = 1e-9, .gradient = 1e-9, .of_total = false};
// Leaky ReLUs whose input is near 0 take the other side in float; so they do in PyTorch.
constexpr Tolerance kFloat{.flow = 1e-5, .term = 1e-5, .gradient = 5e-3, .of_total = true};

// `error` is a relative L2 distance; throws where the tensor is not in the results.
void check_error(const Results& results, const std::string& name, double error, const Tolerance& t) {
  INFO(name);
  if (name.find('/') != std::string::npos) {
    CHECK(error <= t.gradient);
  } else if (name.rfind("flow", 0) == 0) {
    CHECK(error <= t.flow);
  } else {
    CHECK(error * (t.of_total ? results.at(name)[0] / results.at("loss")[0] : 1) <= t.term);
  }
}

// Everything that the file has of the case.
void require_golden(const std::string& name, const Results& results, const Tolerance& tolerance) {
  const GoldenFile file;
  const std::vector<std::string> names = file.names(name);
  REQUIRE(names.size() == results.size());
  for (const std::string& tensor : names)
    check_error(results, tensor, file.difference(name, tensor, results.at(tensor)), tolerance);
}

void require_near(const Results& results, const Results& exact) {
  REQUIRE(results.size() == exact.size());
  for (const auto& [name, want] : exact)
    check_error(results, name, relative_l2(results.at(name), want), kFloat);
}

}  // namespace

TEST_CASE("in double flows, losses, gradients and Adam's step of 3 frames of 64 x 96 are PyTorch's") {
  Setting c = kSmall;
  c.adam = true;
  require_golden("small", evaluate(c, Dtype::f64), kDouble);
}

TEST_CASE("in double the losses as plain means, and their gradients, are PyTorch's") {
  Setting c = kSmall;
  c.normalization = LossNormalization::mean;
  require_golden("small_mean", evaluate(c, Dtype::f64), kDouble);
}

TEST_CASE("in double those of 11 frames of 224 x 224 are PyTorch's, and float is near double") {
  const Results exact = evaluate(kClip, Dtype::f64);
  require_golden("clip", exact, kDouble);
  require_near(evaluate(kClip, Dtype::f32), exact);
}

TEST_CASE("float is near double for both normalizations") {
  for (const auto normalization : {LossNormalization::caffe, LossNormalization::mean}) {
    Setting c = kSmall;
    c.normalization = normalization;
    require_near(evaluate(c, Dtype::f32), evaluate(c, Dtype::f64));
  }
}

TEST_CASE("MotionNet of the paper's width in float is near PyTorch's double") {
  Setting c = kClip;
  c.channels = 1;
  require_golden("full", evaluate(c, Dtype::f32), kFloat);
}
