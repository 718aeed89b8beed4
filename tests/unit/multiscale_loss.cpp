// The pass that fuses the losses of all levels: results like those of the graph as the net wrote it, and no
// fusion where any detail differs.
#include <algorithm>
#include <set>

#include "core/fill.h"
#include "layers/downsample.h"
#include "layers/scale.h"
#include "layers/slice_channels.h"
#include "layers/sub.h"
#include "layers/warp.h"
#include "losses/charbonnier.h"
#include "losses/smoothness.h"
#include "tests/catch.h"
#include "tests/unit/loss_graph.h"

using namespace millrace;
using namespace millrace::test;

namespace {

PlanOptions fused(bool on) { return {.fusions = {{MultiscaleLoss::kName, on}}}; }

void require_fused_and_equal(const LossSetup& s) {
  for (const Dtype real : {Dtype::f64, Dtype::f32}) {
    const Graph g = loss_graph(s, real);
    const Plan plan = make_plan(g, fused(true));
    CHECK(count_steps(plan, MultiscaleLoss::kName) == 1);
    for (const char* gone : {"warp", "warp_dflow", "sub", "charbonnier", "charbonnier_dx", "smoothness",
                             "smoothness_dflow", "ssim", "ssim_dx", "slice_channels"}) {
      INFO(gone);
      CHECK(count_steps(plan, gone) == 0);
    }
    // In float the penalty's slope near its bend is as uncertain as the error is.
    require_equal(run_loss(g, fused(true)), run_loss(g, fused(false)), real == Dtype::f64 ? 1e-9 : 1e-3);
  }
}

}  // namespace

TEST_CASE("the fused losses equal the graph of the net, whatever its options") {
  require_fused_and_equal({});
  require_fused_and_equal({.batch = 2, .height = 48, .width = 80, .coarsest = 4, .options = {.frames = 12}});
  // Its coarsest level is 2 x 3, where the borders are 0 wide.
  require_fused_and_equal({.height = 64, .width = 96, .coarsest = 6});
  for (const bool lrn : {true, false}) {
    for (const auto normalization : {LossNormalization::caffe, LossNormalization::mean}) {
      LossSetup s{.batch = 2, .height = 32, .width = 48, .coarsest = 3};
      s.options.lrn = lrn;
      s.options.normalization = normalization;
      require_fused_and_equal(s);
    }
  }
}

TEST_CASE("the fused losses equal the graph of the net with kinds of terms left out") {
  for (int kinds = 1; kinds < 8; ++kinds) {
    LossSetup s{.height = 32, .width = 48, .coarsest = 3, .options = {.frames = 4}};
    s.options.pixel = kinds & 1;
    s.options.smoothness = kinds & 2;
    s.options.ssim = kinds & 4;
    INFO("pixel " << s.options.pixel << " smoothness " << s.options.smoothness << " ssim " << s.options.ssim);
    if (s.options.pixel || s.options.ssim) {
      require_fused_and_equal(s);
    } else {
      const Plan plan = make_plan(loss_graph(s, Dtype::f32), fused(true));
      CHECK(count_steps(plan, MultiscaleLoss::kName) == 0);  // nothing is warped: two nodes a level
    }
  }
}

TEST_CASE("plans fuse the losses where the device or their options say so") {
  const Graph g = loss_graph({.height = 32, .width = 32, .coarsest = 3}, Dtype::f32);
  CHECK(count_steps(make_plan(g), MultiscaleLoss::kName) == 0);  // on the CPU it does not pay
  const Plan plan = make_plan(g, fused(true));
  CHECK(plan.to_string().find("multiscale_loss") != std::string::npos);
  CHECK(plan.fingerprint() != make_plan(g).fingerprint());
  CHECK(make_plan(g, fused(false)).fingerprint() == make_plan(g).fingerprint());
  PlanOptions as_written = fused(true);
  as_written.rewrite = false;
  CHECK(count_steps(make_plan(g, as_written), MultiscaleLoss::kName) == 0);
  const auto& fusions = Registry::get().fusions();
  const auto found = std::find_if(fusions.begin(), fusions.end(),
                                  [](const Fusion& f) { return f.op == MultiscaleLoss::kName; });
  REQUIRE(found != fusions.end());
  CHECK(found->devices == std::vector<std::string>{"cuda", "cuda-sim"});
}

TEST_CASE("losses without a gradient stay as they are") {
  Graph g(Dtype::f32);
  const Value images = g.input("images", {1, 32, 32, 6});
  const MotionNetFlows flows{.coarsest = 2, .flows = {g.input("flow2", {1, 16, 16, 2})}};
  g.output("loss", motion_loss(g, images, flows, {.frames = 2}).loss);
  CHECK(count_steps(make_plan(g, fused(true)), MultiscaleLoss::kName) == 0);
}

namespace {

// What differs from the graph of the net in one level written by hand.
enum class Detail {
  none,
  dloss_is_an_input,      // so that no attribute can hold it
  error_the_other_way,    // target - warped
  other_frames,           // target is frame k + 1, next frame k
  flow_scaled_twice,      // scale(scale(flow))
  other_target_for_ssim,  // the frame after next
  image_gradient,         // wanted too
  warped_is_read,         // an output
  error_is_read,          // by the gradient of another loss
  pixel_without_output,
};

Graph one_level(Detail detail) {
  Graph g(Dtype::f64);
  const Value images = g.input("images", {2, 24, 20, 12}), flow = g.input("flow", {2, 12, 10, 6});
  const Value small = downsample(g, images, {.height = 12, .width = 10});
  const bool other = detail == Detail::other_frames;
  const Value target = slice_channels(g, small, {.begin = other ? 3 : 0, .count = 9});
  const Value next = slice_channels(g, small, {.begin = other ? 0 : 3, .count = 9});
  const Value once = scale(g, flow, 5);
  const Value warped = warp(g, next, detail == Detail::flow_scaled_twice ? scale(g, once, 2) : once);
  const Value error = detail == Detail::error_the_other_way ? sub(g, target, warped) : sub(g, warped, target);
  const Value pixel = charbonnier(g, error, {.beta = 255, .border_y = 1, .border_x = 1, .normalizer = 50});
  const SmoothnessLoss smooth = smoothness(g, flow, {.alpha = .3, .beta = 5, .normalizer = 40});
  const Value dissimilarity = ssim(g, warped, detail == Detail::other_target_for_ssim ? next : target);
  std::vector<Value> of{pixel, smooth.u, smooth.v, dissimilarity}, seeds;
  for (size_t k = 0; k < of.size(); ++k) {
    seeds.push_back(detail == Detail::dloss_is_an_input ? g.input("seed" + std::to_string(k), {1})
                                                        : fill(g, {1}, .1 * static_cast<double>(k + 1)));
  }
  if (detail == Detail::error_is_read) {
    of.push_back(charbonnier(g, error, {.alpha = .5, .beta = 2}));
    seeds.push_back(fill(g, {1}, 1));
  }
  std::vector<Value> wanted{flow};
  if (detail == Detail::image_gradient) wanted.push_back(warped);
  const std::vector<Value> d = gradients(g, of, seeds, wanted);
  for (size_t k = 0; k < d.size(); ++k) g.output("d" + std::to_string(k), d[k]);
  for (size_t k = detail == Detail::pixel_without_output ? 1 : 0; k < of.size(); ++k)
    g.output("term" + std::to_string(k), of[k]);
  if (detail == Detail::warped_is_read) g.output("warped", warped);
  return g;
}

}  // namespace

TEST_CASE("one other detail, and the losses are left unfused or still right") {
  // Where more is read than the op makes, and a flow that is itself a scaled one.
  const std::set<Detail> still_fused{Detail::none, Detail::warped_is_read, Detail::pixel_without_output,
                                     Detail::image_gradient, Detail::flow_scaled_twice};
  for (const Detail detail :
       {Detail::none, Detail::dloss_is_an_input, Detail::error_the_other_way, Detail::other_frames,
        Detail::flow_scaled_twice, Detail::other_target_for_ssim, Detail::image_gradient,
        Detail::warped_is_read, Detail::error_is_read, Detail::pixel_without_output}) {
    INFO("detail " << static_cast<int>(detail));
    const Graph g = one_level(detail);
    CHECK(count_steps(make_plan(g, fused(true)), MultiscaleLoss::kName) ==
          static_cast<int64_t>(still_fused.count(detail)));
    require_equal(run_loss(g, fused(true)), run_loss(g, fused(false)), 1e-9);
  }
}

TEST_CASE("a training step's gradients are those of the unfused losses") {
  Graph g(Dtype::f64);
  ParamStore params;
  const Value images = g.input("images", {1, 64, 64, 9});
  const MotionNetFlows flows = motionnet(g, params, images, {.frames = 3, .channels = .0625});
  const MotionLoss loss = motion_loss(g, images, flows, {.frames = 3});
  g.output("loss", loss.loss);
  std::vector<Value> wanted;
  for (const Node& node : g.nodes()) {
    for (Value v : node.in) {
      if (g.info(v).state) wanted.push_back(v);
    }
  }
  const std::vector<Value> d = gradients(g, loss.loss, wanted);
  for (size_t k = 0; k < d.size(); ++k) g.output("d" + std::to_string(k), d[k]);

  std::vector<Results> results;
  for (const bool on : {true, false}) {
    const auto device = make_device("cpu");
    State state(*device);
    params.initialise(state, Dtype::f64, 3);
    const Plan plan = make_plan(g, fused(on));
    CHECK(count_steps(plan, MultiscaleLoss::kName) == (on ? 1 : 0));
    Session session(plan, state, {.arena = nullptr, .poison = true});
    write_input(session, "images", {g.shape(images), draw(g.shape(images).count(), -.5, .5, 1)});
    session.run();
    Results& r = results.emplace_back();
    for (const auto& [name, value] : g.outputs()) r[name] = session.get(name);
  }
  require_equal(results[0], results[1], 1e-8);
}

TEST_CASE("levels that do not fit each other are refused") {
  const Spec flow{{1, 8, 8, 4}, Dtype::f32}, images{{1, 8, 8, 9}, Dtype::f32};
  const auto infer = [](const MultiscaleLossAttrs& attrs, std::vector<Spec> in) {
    return MultiscaleLoss(attrs).infer(in, Dtype::f32);
  };
  const MultiscaleLossAttrs one{.levels = {{}}}, two{.levels = {{}, {}}};
  CHECK(infer(one, {flow, images}).size() == 5);
  CHECK(infer(two, {flow, images, flow, images}).size() == 10);
  CHECK_THROWS_AS(infer(two, {flow, images}), Error);
  CHECK_THROWS_AS(infer({}, {}), Error);
  CHECK_THROWS_AS(infer({.levels = std::vector<MultiscaleLevel>(9)}, std::vector<Spec>(18, flow)), Error);
  CHECK_THROWS_AS(infer(one, {flow, flow}), Error);
  CHECK_THROWS_AS(infer(one, {{{2, 8, 8, 4}, Dtype::f32}, images}), Error);
  CHECK_THROWS_AS(infer(two, {flow, images, {{1, 8, 8, 2}, Dtype::f32}, {{1, 8, 8, 6}, Dtype::f32}}), Error);
  MultiscaleLossAttrs wide = one;
  wide.levels[0].pixel.border_x = 4;
  CHECK_THROWS_AS(infer(wide, {flow, images}), Error);
}
