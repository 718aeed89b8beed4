// Layouts: where elements lie, where a plan puts reorders and where not, and that nothing but speed depends
// on it.
#include "core/layouts.h"

#include <iostream>
#include <set>

#include "core/files.h"
#include "core/params.h"
#include "core/plan.h"
#include "core/reorder.h"
#include "core/session.h"
#include "layers/bias.h"
#include "layers/concat.h"
#include "layers/conv2d.h"
#include "layers/leaky_relu.h"
#include "nets/motion_loss.h"
#include "optim/update.h"
#include "tests/catch.h"
#include "tests/unit/run_op.h"
#include "tests/unit/temporary_folder.h"

namespace millrace {
namespace {

using test::draw;
using test::Numbers;

const PlanOptions kBlocked{.versions = {{"conv2d", "onednn-blocked"},
                                        {"conv2d_dx", "onednn-blocked"},
                                        {"conv2d_dw", "onednn-blocked"}}};
const PlanOptions kNhwc{
    .versions = {{"conv2d", "onednn-nhwc"}, {"conv2d_dx", "onednn-nhwc"}, {"conv2d_dw", "onednn-nhwc"}}};

bool has_onednn() {
  if (Registry::get().kernels(Conv2d::kName, "cpu", Dtype::f32).front()->version == "onednn") return true;
  std::cout << "skipped: built without oneDNN\n";
  return false;
}

int64_t at(const LayoutTable& t, int64_t n, int64_t i, int64_t j, int64_t c) {
  return t[0][static_cast<size_t>(n)] + t[1][static_cast<size_t>(i)] + t[2][static_cast<size_t>(j)] +
         t[3][static_cast<size_t>(c)];
}

int reorders(const Plan& plan) {
  int count = 0;
  for (const PlanStep& step : plan.steps) count += step.op->name() == Reorder::kName;
  return count;
}

// Three convolutions on 32 channels, the second without bias and activation fused into it.
struct Chain {
  Graph g{Dtype::f32};
  ParamStore params{"cpu"};

  Chain() {
    const Value x = g.input("x", {2, 9, 11, 32});
    Value y = convolution("a", x);
    y = leaky_relu(g, convolution("b", y));
    y = concat(g, std::vector{y, x});
    g.output("y", y);
    const Value z = convolution("c", y, 64);
    g.output("z", z);
  }
  Value convolution(const std::string& name, Value x, int64_t in = 32) {
    const Value w = params.parameter(g, name, {32, 3, 3, in}, {.stddev = .1});
    return conv2d(g, x, w, params.parameter(g, name + "b", {32}, {.stddev = 1}), {.stride = 1, .pad = 1});
  }

  Numbers run(const PlanOptions& options, const char* output) const {
    const auto device = make_device("cpu");
    State state(*device);
    params.initialise(state, Dtype::f32, 1);
    Session session(make_plan(g, options), state, {.arena = nullptr, .poison = true});
    const Numbers x = draw(2 * 9 * 11 * 32, -1, 1, 2);
    session.set("x", std::vector<float>(x.begin(), x.end()));
    session.run();
    return session.get(output);
  }
};

double largest_difference(const Numbers& a, const Numbers& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    const double d = std::abs(a[k] - b[k]);
    if (!(d <= worst)) worst = d;
  }
  return worst;
}

double mean_difference(const Numbers& a, const Numbers& b) {
  REQUIRE(a.size() == b.size());
  double sum = 0;
  for (size_t k = 0; k < a.size(); ++k) sum += std::abs(a[k] - b[k]);
  return sum / static_cast<double>(a.size());
}

}  // namespace

TEST_CASE("a dense value lies in the order of its shape") {
  const LayoutTable t = layout_table({}, {2, 3, 5, 7});
  CHECK(at(t, 1, 2, 3, 4) == ((1 * 3 + 2) * 5 + 3) * 7 + 4);
  CHECK(Layout{}.count({2, 3, 5, 7}) == 210);
  CHECK(Layout{}.to_string().empty());
}

TEST_CASE("a value blocked by channels lies in blocks of planes") {
  const Layout layout = channel_blocked(8);
  CHECK(layout.to_string() == "aDbc8d");
  CHECK(layout.count({2, 3, 5, 20}) == 2 * 3 * 3 * 5 * 8);
  const LayoutTable t = layout_table(layout, {2, 3, 5, 20});
  CHECK(at(t, 1, 2, 3, 17) == (((1 * 3 + 2) * 3 + 2) * 5 + 3) * 8 + 1);
  CHECK(channel_block(layout) == 8);
  CHECK(channel_block({}) == 0);
}

TEST_CASE("weights can be blocked by both channels") {
  const Layout layout{{0, 3, 1, 2}, {{3, 16}, {0, 4}}};
  CHECK(layout.to_string() == "ADbc16d4a");
  CHECK(layout.count({5, 3, 3, 17}) == 8 * 9 * 32);
  const LayoutTable t = layout_table(layout, {5, 3, 3, 17});
  CHECK(at(t, 4, 1, 2, 16) == ((((1 * 2 + 1) * 3 + 1) * 3 + 2) * 16 + 0) * 4 + 0);
  CHECK(at(t, 3, 0, 0, 5) == 5 * 4 + 3);
  CHECK(channel_block(layout) == 0);
  std::set<int64_t> places;
  for (int64_t o = 0; o < 5; ++o)
    for (int64_t p = 0; p < 9; ++p)
      for (int64_t c = 0; c < 17; ++c) places.insert(at(t, o, p / 3, p % 3, c));
  CHECK(places.size() == 5 * 9 * 17);  // no two elements share one
  CHECK(*places.rbegin() < layout.count({5, 3, 3, 17}));
}

TEST_CASE("an axis can end at a multiple, with zeros behind it") {
  const Layout layout = channel_padded({2, 3, 5, 20}, 8);
  CHECK(layout.to_string() == "abcd+8d");
  CHECK(layout.count({2, 3, 5, 20}) == 2 * 3 * 5 * 24);
  CHECK(is_channel_padded(layout));
  CHECK(channel_pitch(layout, {2, 3, 5, 20}) == 24);
  CHECK(channel_block(layout) == 0);
  CHECK(at(layout_table(layout, {2, 3, 5, 20}), 1, 2, 3, 17) == ((1 * 3 + 2) * 5 + 3) * 24 + 17);
  // Where nothing is to be filled up, the value is dense.
  CHECK(channel_padded({2, 3, 5, 24}, 8).dense());
  CHECK(channel_pitch({}, {2, 3, 5, 20}) == 20);
  CHECK_FALSE(is_channel_padded(Layout{}));
  CHECK_FALSE(is_channel_padded(channel_blocked(8)));
  const Layout weights{{0, 1, 2, 3}, {}, {{0, 8}, {3, 8}}};
  CHECK(weights.to_string() == "abcd+8a+8d");
  CHECK(weights.count({20, 3, 3, 33}) == 24 * 9 * 40);
  CHECK(at(layout_table(weights, {20, 3, 3, 33}), 19, 2, 1, 32) == ((19 * 3 + 2) * 3 + 1) * 40 + 32);
  CHECK_FALSE(is_channel_padded(weights));
}

TEST_CASE("a chain that agrees on a layout is reordered at its ends only") {
  if (!has_onednn()) return;
  const Chain chain;
  const Plan blocked = make_plan(chain.g, kBlocked);
  INFO(blocked.to_string());
  // x once for convolution and concatenation, y and z for the caller; weights lie as convolutions want them.
  CHECK(reorders(blocked) == 3);
  CHECK(reorders(make_plan(chain.g, kNhwc)) == 0);
  for (const char* output : {"y", "z"})
    CHECK(largest_difference(chain.run(kBlocked, output), chain.run(kNhwc, output)) < 1e-4);
}

TEST_CASE("parameters in a device's layout start from the same numbers and make the same file") {
  const test::TemporaryFolder folder;
  const auto device = make_device("cpu");
  std::vector<std::string> files;
  Registry::mutable_registry().set_weight_layout("pads", [](const Spec&) {
    return Layout{{0, 1, 2, 3}, {}, {{0, 8}, {3, 8}}};
  });
  for (const char* where : {"", "cpu", "pads"}) {
    Graph g(Dtype::f32);
    ParamStore params(where);
    params.parameter(g, "odd", {21, 3, 3, 5}, {.stddev = 1});
    params.parameter(g, "bias", {21}, {.stddev = 1});
    params.parameter(g, "deconv", {33, 4, 4, 20}, {.stddev = 1});
    State state(*device), back(*device);
    params.initialise(state, Dtype::f32, 7);
    const auto path = folder / (std::string("store") + where);
    params.save(path, state, {{kParams, ""}}, {});
    files.push_back(read_file(path, 1 << 20));
    params.initialise(back, Dtype::f32, 8);
    params.load(SafetensorsReader(path), back, {{kParams, ""}});
    CHECK(to_double(back.at(kParams)) == to_double(state.at(kParams)));
    CHECK(params.count() == 21 * 45 + 21 + 33 * 16 * 20);
  }
  CHECK(files[0] == files[1]);
  CHECK(files[0] == files[2]);
}

namespace {

// Two training steps of a small MotionNet (with channels enough for blocks at both ends, and pixels enough at
// level 6 for oneDNN's blocked weight gradient by AVX2), each of two micro-batches: parameters by name.
std::map<std::string, Numbers> train(const PlanOptions& options, const std::string& where) {
  ParamStore params(where);
  const OptimizerOptions optimizer{.weight_decay = 1e-3, .accumulate = 2};
  auto build = [&](bool first) {
    Graph g(Dtype::f32);
    const Value images = g.input("images", {2, 96, 96, 27});
    const MotionNetFlows flows = motionnet(g, params, images, {.frames = 9, .channels = .25});
    const MotionLoss loss = motion_loss(g, images, flows, {.frames = 9});
    if (first)
      first_micro_step(g, loss.loss, params.layout());
    else
      next_micro_step(g, loss.loss, params.layout());
    return g;
  };
  const Graph first = build(true), next = build(false);
  Graph update(Dtype::f32);
  update_step(update, params.layout(), optimizer);
  const auto device = make_device("cpu");
  State state(*device);
  params.initialise(state, Dtype::f32, 3);
  const SessionOptions poisoned{.arena = nullptr, .poison = true};
  Session a(make_plan(first, options), state, poisoned), b(make_plan(next, options), state, poisoned),
      c(make_plan(update, options), state, poisoned);
  for (int step = 1; step <= 2; ++step) {
    for (Session* s : {&a, &b}) {
      const Numbers x = draw(2 * 96 * 96 * 27, -.5, .5, static_cast<uint64_t>(step));
      s->set("images", std::vector<float>(x.begin(), x.end()));
      s->run();
    }
    c.set_scalar("rate", update_rate(optimizer, 1e-4, step));
    c.run();
  }
  const test::TemporaryFolder folder;
  params.save(folder / "p", state, {{kParams, ""}}, {});
  const SafetensorsReader file(folder / "p");
  std::map<std::string, Numbers> result;
  for (const FlatSlice& s : params.layout().slices) {
    std::vector<float> values(static_cast<size_t>(s.shape.count()));
    file.read_some(s.name, 0, std::span<float>(values));
    result[s.name].assign(values.begin(), values.end());
  }
  return result;
}

}  // namespace

TEST_CASE("training does not depend on layouts") {
  if (!has_onednn()) return;
  const auto dense = train(kNhwc, ""), stored = train(kNhwc, "cpu"), blocked = train(kBlocked, "cpu");
  REQUIRE(dense.size() > 20);
  for (const auto& [name, values] : dense) {
    INFO(name);
    // Adam's first steps are the rate, 1e-4, times about the gradient's sign, which rounding decides where
    // the gradient is near 0: a few elements end 4e-4 apart. Gradients of another map would move the mean by
    // 1e-4.
    CHECK(mean_difference(stored.at(name), values) < 3e-5);
    CHECK(mean_difference(blocked.at(name), values) < 3e-5);
  }
}

TEST_CASE("MotionNet's blocked plan keeps its chains") {
  if (!has_onednn()) return;
  Graph g(Dtype::f32);
  ParamStore params("cpu");
  const Value images = g.input("images", {1, 224, 224, 33});
  const MotionNetFlows flows = motionnet(g, params, images, {.frames = 11});
  const MotionLoss loss = motion_loss(g, images, flows, {.frames = 11});
  train_step(g, loss.loss, params.layout(), {});
  const Plan plan = make_plan(g, kBlocked);
  std::map<std::string, int> count;
  for (const PlanStep& step : plan.steps) {
    if (step.op->name() != Reorder::kName) continue;
    const Spec& to = plan.specs[static_cast<size_t>(step.out[0].id)];
    ++count[to.layout.blocks.size() == 2 ? "weights" : "activations"];
    INFO(step.name << " " << to.to_string());
    // Of activations: the images, and the five flows and their gradients on their way to the losses and back.
    if (to.layout.blocks.size() < 2) CHECK((to.shape[3] == 33 || to.shape[3] == 20));
  }
  CHECK(count["activations"] <= 11);
  CHECK(count["weights"] == 28);  // all data gradients, but that of the first convolution, which nobody needs
}

}  // namespace millrace
