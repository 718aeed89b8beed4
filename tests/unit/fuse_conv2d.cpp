// The passes that fuse what follows a data gradient, and a decoder's join: what they find in nets, that
// results are those of the graph as it was written, and that they leave alone what something else reads.
#include "core/add.h"
#include "layers/bias.h"
#include "layers/concat.h"
#include "layers/leaky_relu.h"
#include "layers/scale.h"
#include "layers/slice_channels.h"
#include "tests/catch.h"
#include "tests/unit/fused_net.h"

using namespace millrace;
using namespace millrace::test;

namespace {

using Forms = std::map<std::string, int64_t>;

std::string text(const Forms& forms) {
  std::string all;
  for (const auto& [form, count] : forms) all += "[" + form + "] " + std::to_string(count) + ", ";
  return all;
}

constexpr double kTolerance = 1e-11;  // in double; sums of db are in another order

void require_same_results(const TrainingGraph& net) {
  require_equal(run_net(net, fusing(true)), run_net(net, fusing(false)), kTolerance);
}

struct Variant {
  const char* name;
  MotionNetOptions options;
  Forms forms;
  int64_t joins;
};

std::vector<Variant> variants() {
  using enum MotionNetKind;
  // Of the full net: twelve encoder layers, of which four go to a join too and the last to a deconvolution.
  // Four levels have a smooth_conv, whose data gradient ends in the join and whose output a flow head reads,
  // and but for the finest the next deconvolution. Nothing follows the eight deconvolutions.
  return {{"full", {}, {{"", 12}, {"sum", 1}, {"add sum", 3}, {"add leaky sum", 5}, {"leaky sum", 7}}, 4},
          {"tiny",
           {.kind = tiny},
           {{"", 6}, {"sum", 1}, {"add sum", 1}, {"add leaky sum", 3}, {"leaky sum", 1}},
           2},
          {"without smooth_conv",
           {.smooth_conv = false},
           {{"", 9}, {"add", 3}, {"add leaky sum", 5}, {"leaky sum", 7}},
           4},
          {"without small displacements",
           {.small_displacement = false},
           {{"", 12}, {"sum", 1}, {"add sum", 3}, {"add leaky sum", 5}, {"leaky sum", 6}},
           4}};
}

}  // namespace

TEST_CASE("every data gradient and every join of MotionNet is fused") {
  for (Variant v : variants()) {
    INFO(v.name);
    v.options.frames = 3;
    v.options.channels = .05;
    const TrainingGraph net = net_graph(v.options, {2, 64, 64, 9}, Dtype::f64);
    const Plan plan = make_plan(net.graph, fusing(true)), plain = make_plan(net.graph, fusing(false));
    CHECK(text(forms(plan)) == text(v.forms));
    CHECK(count_steps(plan, DecoderJoin::kName) == v.joins);
    CHECK(count_steps(plan, DecoderJoinDx::kName) == v.joins);
    for (const char* gone : {"leaky_relu", "leaky_relu_dx", "concat", "slice_channels", "bias"}) {
      INFO(gone);
      CHECK(count_steps(plan, gone) == 0);
    }
    CHECK(forms(plain).size() == 1);
    CHECK(plan.cost.bytes < plain.cost.bytes);
    CHECK(plan.fingerprint() != plain.fingerprint());
    require_same_results(net);
  }
}

TEST_CASE("plans fuse convolutions and joins on GPUs, and elsewhere when asked") {
  const TrainingGraph net = net_graph({.frames = 2, .channels = .02}, {1, 64, 64, 6}, Dtype::f32);
  CHECK(make_plan(net.graph).fingerprint() == make_plan(net.graph, fusing(false)).fingerprint());
  for (const Fusion& fusion : Registry::get().fusions())
    CHECK(fusion.devices == std::vector<std::string>{"cuda", "cuda-sim"});
  // Each by itself.
  const Plan joins = make_plan(net.graph, {.fusions = {{DecoderJoin::kName, true}}});
  CHECK(count_steps(joins, DecoderJoinDx::kName) == 4);
  CHECK(forms(joins).size() == 1);
  const Plan convolutions = make_plan(net.graph, {.fusions = {{Conv2dDx::kName, true}}});
  CHECK(count_steps(convolutions, "concat") == 4);
  CHECK(forms(convolutions).size() == 5);
}

namespace {

// dy -> conv2d_dx -> + skip -> leaky_relu_dx -> conv2d_db, and one thing otherwise.
enum class Detail {
  none,
  dx_is_output,     // the data gradient itself
  dx_is_read,       // by another node
  dx_added_twice,   // dx + dx
  skip_first,       // skip + dx
  skip_is_another,  // the other operand is a data gradient too
  sum_is_read,      // what the activation's gradient reads, by another node
  dx_is_sign,       // leaky_relu_dx(skip, dx): dx in y's place
  slope_one,        // an activation that does nothing
  slope_zero,       // a ReLU
  result_is_read,   // by others than conv2d_db: fine
  two_biases,       // conv2d_db of the result after more is done to it
  db_between,       // conv2d_db of what the activation's gradient reads
  kCount
};

struct Setup {
  Graph graph{Dtype::f64};
  Forms forms;
};

Setup setup(Detail detail) {
  Setup s;
  Graph& g = s.graph;
  const Shape x{2, 6, 5, 3}, w{4, 3, 3, 3}, small{2, 3, 3, 4};
  const Conv2dDxAttrs attrs{.stride = 2, .pad = 1, .height = 6, .width = 5};
  const Value dy = g.input("dy", small), weights = g.input("w", w), skip = g.input("skip", x),
              y = g.input("y", x);
  const auto data_gradient = [&](Value of) { return g.add1(make_op<Conv2dDx>(attrs), {of, weights}); };
  const auto read = [&](Value v) { g.output("also", scale(g, v, 3)); };
  const double slope = detail == Detail::slope_one ? 1 : detail == Detail::slope_zero ? 0 : .1;
  const auto leaky_dx = [&](Value d, Value of) {
    return g.add1(make_op<LeakyReluDx>(LeakyReluAttrs{slope}), {d, of});
  };

  const Value dx = data_gradient(dy);
  Value other = skip;
  if (detail == Detail::dx_is_output) g.output("dx", dx);
  if (detail == Detail::dx_is_read) read(dx);
  if (detail == Detail::dx_added_twice) other = dx;
  if (detail == Detail::skip_is_another) other = data_gradient(scale(g, dy, .5));
  const Value sum = detail == Detail::skip_first ? add(g, other, dx) : add(g, dx, other);
  if (detail == Detail::sum_is_read) read(sum);
  if (detail == Detail::db_between) g.output("db", g.add1(make_op<Conv2dDb>(), {sum}));
  Value result = detail == Detail::dx_is_sign ? leaky_dx(skip, sum) : leaky_dx(sum, y);
  if (detail == Detail::result_is_read) read(result);
  if (detail != Detail::db_between) g.output("db", g.add1(make_op<Conv2dDb>(), {result}));
  if (detail == Detail::two_biases) g.output("db2", g.add1(make_op<Conv2dDb>(), {scale(g, result, 2)}));
  g.output("result", result);

  const std::map<Detail, Forms> expected{
      {Detail::dx_is_output, {{"", 1}}},   {Detail::dx_is_read, {{"", 1}}},
      {Detail::dx_added_twice, {{"", 1}}}, {Detail::skip_is_another, {{"", 1}, {"add leaky sum", 1}}},
      {Detail::sum_is_read, {{"add", 1}}}, {Detail::dx_is_sign, {{"add", 1}}},
      {Detail::slope_one, {{"add", 1}}},   {Detail::db_between, {{"add sum", 1}}}};
  const auto found = expected.find(detail);
  s.forms = found == expected.end() ? Forms{{"add leaky sum", 1}} : found->second;
  return s;
}

}  // namespace

TEST_CASE("a data gradient is fused as far as nothing else reads what lies between") {
  for (int d = 0; d < static_cast<int>(Detail::kCount); ++d) {
    INFO("detail " << d);
    const Setup s = setup(static_cast<Detail>(d));
    CHECK(text(forms(make_plan(s.graph, fusing(true)))) == text(s.forms));
    require_equal(run_loss(s.graph, fusing(true)), run_loss(s.graph, fusing(false)), kTolerance);
  }
}

TEST_CASE("chains of data gradients are fused one by one, and bits do not depend on it in between") {
  Graph g(Dtype::f32);
  const Value dy = g.input("dy", {1, 5, 4, 3}), w = g.input("w", {3, 3, 3, 3});
  Value d = dy;
  for (int k = 0; k < 3; ++k) {
    const Value dx =
        g.add1(make_op<Conv2dDx>(Conv2dDxAttrs{.stride = 1, .pad = 1, .height = 5, .width = 4}), {d, w});
    d = g.add1(make_op<LeakyReluDx>(LeakyReluAttrs{.1}), {add(g, dx, d), dy});
  }
  g.output("d", d);
  CHECK(forms(make_plan(g, fusing(true))) == Forms{{"add leaky", 3}});
  PlanOptions plain = fusing(false);
  plain.versions = {{"conv2d_dx", "plain"}};
  CHECK(run_loss(g, fusing(true)) == run_loss(g, plain));
}

namespace {

enum class JoinDetail {
  none,
  up_is_output,
  up_is_read,
  sum_is_output,   // up + b
  flow_is_read,    // flow + b_flow
  joined_is_read,  // fine
  another_slope,   // of the gradient
  no_activation,
  four_parts,
  order,             // flow before up
  skip_is_constant,  // no gradient of it is wanted
  inference,
  kCount
};

struct JoinSetup {
  Graph graph{Dtype::f64};
  int64_t joins = 0, gradients = 0;
};

JoinSetup join_setup(JoinDetail detail) {
  using D = JoinDetail;
  JoinSetup s;
  Graph& g = s.graph;
  const Value skip = g.input("skip", {2, 3, 4, 5}), up = g.input("up", {2, 3, 4, 3}), b = g.input("b", {3}),
              flow = g.input("flow", {2, 3, 4, 2}), b_flow = g.input("b_flow", {2});
  const auto read = [&](Value v) { g.output("also", scale(g, v, 3)); };
  const Value sum = bias(g, up, b), flowing = bias(g, flow, b_flow);
  const Value active = detail == D::no_activation ? sum : leaky_relu(g, sum);
  std::vector<Value> parts{skip, active, flowing};
  if (detail == D::four_parts) parts.push_back(skip);
  if (detail == D::order) std::swap(parts[1], parts[2]);
  const Value y = concat(g, parts);
  g.output("y", y);
  if (detail != D::inference) {
    const Value r = g.input("r", g.shape(y));
    std::vector<Value> wanted{up, b, flow, b_flow};
    if (detail != D::skip_is_constant) wanted.push_back(skip);
    const std::vector<Value> d = gradients(g, std::vector<Value>{y}, std::vector<Value>{r}, wanted);
    for (size_t k = 0; k < d.size(); ++k) g.output("d" + std::to_string(k), d[k]);
    if (detail == D::another_slope)
      g.output("d", g.add1(make_op<LeakyReluDx>(LeakyReluAttrs{.3}), {scale(g, up, 2), active}));
  }
  if (detail == D::up_is_output) g.output("up", active);
  if (detail == D::up_is_read) read(active);
  if (detail == D::sum_is_output) g.output("sum", sum);
  if (detail == D::flow_is_read) read(flowing);
  if (detail == D::joined_is_read) read(y);
  s.joins = detail == D::none || detail == D::joined_is_read || detail == D::inference;
  s.gradients = s.joins && detail != D::inference;
  return s;
}

}  // namespace

TEST_CASE("a decoder's join is fused where nothing else reads its parts") {
  for (int d = 0; d < static_cast<int>(JoinDetail::kCount); ++d) {
    INFO("detail " << d);
    const JoinSetup s = join_setup(static_cast<JoinDetail>(d));
    const Plan plan = make_plan(s.graph, fusing(true));
    CHECK(count_steps(plan, DecoderJoin::kName) == s.joins);
    CHECK(count_steps(plan, DecoderJoinDx::kName) == s.gradients);
    require_equal(run_loss(s.graph, fusing(true)), run_loss(s.graph, fusing(false)), kTolerance);
  }
}

TEST_CASE("fused convolutions refuse what does not fit, and have no gradient") {
  const Spec dy{{1, 4, 4, 2}, Dtype::bf16}, w{{2, 3, 3, 3}, Dtype::bf16}, x{{1, 4, 4, 3}, Dtype::bf16};
  const auto infer = [](Conv2dDxAttrs a, std::vector<Spec> in) {
    a.stride = a.pad = 1;
    a.height = a.width = 4;
    return Conv2dDx(a).infer(in, Dtype::bf16);
  };
  CHECK(infer({}, {dy, w}) == std::vector<Spec>{x});
  CHECK(infer({.add = true, .negative_slope = .1, .sum = true}, {dy, w, x, x}) ==
        std::vector<Spec>{x, {{3}, Dtype::f32}});
  CHECK_THROWS_AS(infer({}, {dy, w, x}), Error);
  CHECK_THROWS_AS(infer({.add = true}, {dy, w}), Error);
  CHECK_THROWS_AS(infer({.add = true, .negative_slope = .1}, {dy, w, x}), Error);
  CHECK_THROWS_AS(infer({.negative_slope = .1}, {dy, w, dy}), Error);
  CHECK_THROWS_AS(infer({.negative_slope = -.1}, {dy, w, x}), Error);
  CHECK_THROWS_AS(infer({.add = true}, {dy, w, {x.shape, Dtype::f32}}), Error);

  const Conv2d precisely({.stride = 1, .pad = 1, .precise = true});
  CHECK(precisely.infer(std::vector<Spec>{x, {{2, 3, 3, 3}, Dtype::bf16}}, Dtype::bf16) ==
        std::vector<Spec>{{dy.shape, Dtype::f32}});
  Graph g;
  const Value y = g.input("y", {1, 4, 4, 2}), k = g.input("w", {2, 3, 3, 3});
  const Conv2dDxAttrs sum{.stride = 1, .pad = 1, .height = 4, .width = 4, .sum = true};
  const std::vector<Value> out = g.add(make_op<Conv2dDx>(sum), std::vector<Value>{y, k});
  const Value seed = g.input("r", g.shape(out[0]));
  CHECK_THROWS_AS(gradients(g, std::vector<Value>{out[0]}, std::vector<Value>{seed}, std::vector<Value>{y}),
                  Error);
}
