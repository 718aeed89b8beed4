// Which values of a plan of Precision::bf16 are bf16, what is cast, and where weights come from.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/add.h"
#include "core/cast.h"
#include "core/copy.h"
#include "core/passes.h"
#include "core/precision_pass.h"
#include "layers/concat.h"
#include "layers/conv2d.h"
#include "layers/leaky_relu.h"
#include "tests/unit/bf16_net.h"
#include "tests/unit/message_of.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

// A device of which nothing is known but that it has bf16.
constexpr const char* kDevice = "bf16-test";
void register_device() {
  if (!has_bf16(kDevice))
    Registry::mutable_registry().add_kernel(
        {.op = "conv2d", .device = kDevice, .version = "none", .dtype = Dtype::bf16});
}

Graph rewritten(const Graph& g) { return fuse_nodes(remove_dead_nodes(join_equal_nodes(g))); }
Graph typed(const Graph& g) {
  register_device();
  return to_bf16(rewritten(g), kDevice);
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

int64_t count(const Graph& g, const std::string& op) {
  return std::count_if(g.nodes().begin(), g.nodes().end(), [&](const Node& n) { return n.op->name() == op; });
}

// What makes f32 in the training step of MotionNet, by op; then what does so for flows and their gradients
// alone.
const std::set<std::string> kExactOps{"conv2d_dw",
                                      "conv2d_db",
                                      "lrn",
                                      "downsample",
                                      "warp",
                                      "warp_dflow",
                                      "warp_dimage",
                                      "charbonnier",
                                      "charbonnier_dx",
                                      "smoothness",
                                      "smoothness_dflow",
                                      "ssim",
                                      "ssim_dx",
                                      "weighted_sum",
                                      "fill",
                                      "norm",
                                      "pack",
                                      "adam",
                                      "sub",
                                      "scale"};
bool is_flow(const Node& n) {
  const bool backward = has(n.name, "/d/");
  if (has(n.name, "conv_pr") && !backward) return n.op->name() == "conv2d";
  if (has(n.name, "upsample_flow") && backward) return n.op->name() == "conv2d" || n.op->name() == "add";
  return false;
}

// Outside of the net all is f32, but for the images that it sees.
Dtype expected(const Node& n) {
  const bool in_net = has(n.name, "motionnet/");
  return kExactOps.count(std::string(n.op->name())) || is_flow(n) || !in_net ? Dtype::f32 : Dtype::bf16;
}

constexpr NetSize kNet{.batch = 1, .extent = 64, .frames = 3, .channels = .05};

struct ConvNet {
  Graph g;
  Value x = g.input("x", {1, 8, 8, 4}), y;
  int64_t weights = 0;

  Value conv(Value from, int64_t out = 4) {
    const Value w = g.state({kParams, 4096 * weights++}, Shape{out, 3, 3, g.shape(from)[3]});
    return g.add1(make_op<Conv2d>(Conv2dAttrs{.stride = 1, .pad = 1}), {from, w});
  }
};

Dtype type_of(const Graph& g, const std::string& output) { return g.spec(g.outputs().at(output)).dtype; }

}  // namespace

TEST_CASE("the types of MotionNet's training step") {
  ParamStore params;
  const Graph g = typed(training_graph(params, kNet));
  std::vector<std::string> casts;
  int64_t images = 0, bf16 = 0;
  for (const Node& n : g.nodes()) {
    INFO(n.name << " (" << n.op->name() << ")");
    const Spec& out = g.spec(n.out[0]);
    if (n.op->name() == "cast") {
      CHECK(out.dtype == Dtype::bf16);
      CHECK(out.shape[3] == 2 * (kNet.frames - 1));  // flows and their gradients, nothing larger
      casts.push_back(n.name);
    } else if (n.op->name() == "normalize_image") {
      ++images;
    } else {
      CHECK(out.dtype == expected(n));
    }
    bf16 += out.dtype == Dtype::bf16;
  }
  CHECK(images == 2);        // f32 for the loss, bf16 for the net
  CHECK(casts.size() == 9);  // the four flows that are upsampled, and the gradients of all five
  CHECK(bf16 > 80);
}

TEST_CASE("weights are read from their copy, biases from the parameters, and the optimizer writes both") {
  ParamStore params;
  const Graph g = typed(training_graph(params, kNet));
  int64_t copies = 0;
  for (const Node& n : g.nodes()) {
    const bool conv = n.op->name() == "conv2d" || n.op->name() == "conv2d_dx";
    for (size_t k = 0; k < n.in.size(); ++k) {
      const ValueInfo& in = g.info(n.in[k]);
      if (!in.state) continue;
      INFO(n.name << " reads " << in.name);
      CHECK((in.state->buffer == kParamsBf16) == (conv && k == 1));
      CHECK((in.spec.dtype == Dtype::bf16) == (in.state->buffer == kParamsBf16));
      copies += in.state->buffer == kParamsBf16;
    }
    if (n.op->name() == "adam") CHECK(n.out.size() == 4);
  }
  CHECK(copies > 50);
  std::set<std::string> updated;
  for (const Update& u : g.updates()) updated.insert(g.info(u.state).state->buffer);
  CHECK(updated == std::set<std::string>{"grads", "moment1", "moment2", kParams, kParamsBf16});
}

TEST_CASE("only the update of several micro-batches writes the copy") {
  ParamStore params;
  LossGraph first = loss_graph(params, kNet), next = loss_graph(params, kNet);
  Graph update;
  first_micro_step(first.g, first.loss, params.layout());
  next_micro_step(next.g, next.loss, params.layout());
  update_step(update, params.layout(), {.kind = OptimizerKind::sgd, .accumulate = 2});
  const auto writes = [](const Graph& g) {
    return std::any_of(g.updates().begin(), g.updates().end(),
                       [&](const Update& u) { return g.info(u.state).state->buffer == kParamsBf16; });
  };
  CHECK(!writes(typed(first.g)));
  CHECK(!writes(typed(next.g)));
  CHECK(writes(typed(update)));
  CHECK(count(typed(update), "cast") == 0);
}

TEST_CASE("parameters that something else updates are cast for the copy") {
  Graph g;
  const Value p = g.state({kParams, 0}, {64}, "p");
  g.update(p, g.add1(make_op<Add>(), {p, g.input("step", {64})}));
  const Graph t = typed(g);
  CHECK(count(t, "cast") == 1);
  CHECK(t.updates().size() == 2);
}

TEST_CASE("the emulation rounds where the plan stores bf16 or reads weights, and nowhere else") {
  ParamStore params;
  const Graph step = training_graph(params, kNet), real = typed(step),
              emulated = to_bf16(rewritten(step), "cpu");
  int64_t stored = 0;
  std::set<Value> weights;
  for (const Node& n : real.nodes()) {
    for (const Value v : n.out) stored += real.spec(v).dtype == Dtype::bf16;
    for (const Value v : n.in) {
      if (real.info(v).state && real.spec(v).dtype == Dtype::bf16) weights.insert(v);
    }
  }
  // The optimizer's copy is a stored value that the emulation has no use for.
  CHECK(count(emulated, "round_bf16") == stored - 1 + static_cast<int64_t>(weights.size()));
  CHECK(count(emulated, "cast") == 0);
  for (int32_t v = 0; v < emulated.value_count(); ++v) CHECK(emulated.spec(Value{v}).dtype != Dtype::bf16);
  CHECK(emulated.updates().size() == step.updates().size());
}

TEST_CASE("a graph without anything to round stays as it is") {
  ParamStore params;
  Graph g;
  g.output("y", g.add1(make_op<Add>(), {g.input("a", {3}), g.input("b", {3})}));
  const Graph t = typed(g);
  CHECK(t.nodes().size() == 1);
  CHECK(type_of(t, "y") == Dtype::f32);
}

TEST_CASE("a value with readers of both kinds is f32 and rounded once") {
  ConvNet net;
  const Value x = net.conv(net.x), y = net.conv(x), z = net.conv(x);
  net.g.output("x", x);
  net.g.output("y", y);
  net.g.output("z", z);
  const Graph t = typed(net.g);
  CHECK(type_of(t, "x") == Dtype::f32);
  CHECK(count(t, "cast") == 2);  // of the input and of x
  for (const Node& n : t.nodes()) {
    if (n.op->name() == "conv2d") CHECK(t.spec(n.in[0]).dtype == Dtype::bf16);
  }
}

TEST_CASE("the sum of an f32 and a bf16 value is f32, and the convolution before it gives f32") {
  ConvNet net;
  const Value y = net.conv(net.x);
  const Value sum = net.g.add1(make_op<Add>(), {y, net.g.input("flow", net.g.shape(y))});
  net.g.output("y", net.conv(sum));
  const Graph t = typed(net.g);
  CHECK(count(t, "cast") == 2);  // of the input and of the sum
  for (const Node& n : t.nodes()) {
    if (n.op->name() == "add") CHECK(t.spec(n.out[0]).dtype == Dtype::f32);
  }
}

TEST_CASE("a deconvolution whose result must be f32 computes in f32, without making the net before it so") {
  ConvNet net;
  const Value x = net.g.add1(make_op<LeakyRelu>(), {net.conv(net.x)});
  const Value w = net.g.state({kParams, 1 << 20}, Shape{4, 4, 4, 2});
  net.g.output("y", deconv2d(net.g, x, w, {.stride = 2, .pad = 1}));
  const Graph t = typed(net.g);
  CHECK(count(t, "cast") == 2);  // of the input, and back to f32
  for (const Node& n : t.nodes()) {
    if (n.op->name() == "conv2d") CHECK(t.spec(n.out[0]).dtype == Dtype::bf16);
    if (n.op->name() != "conv2d_dx") continue;
    CHECK(t.spec(n.in[0]).dtype == Dtype::f32);
    CHECK(t.info(n.in[1]).state->buffer == kParams);
  }
}

TEST_CASE("what an f32 and a bf16 value are joined to is bf16") {
  ConvNet net;
  const Value y = net.conv(net.x);
  net.g.output("y", net.conv(net.g.add(make_op<Concat>(), std::vector<Value>{y, net.x}).front()));
  const Graph t = typed(net.g);
  CHECK(count(t, "cast") == 1);  // of the input, for both of its readers
}

TEST_CASE("a ParamStore fills the copy of what it draws and loads, and a session asks for it") {
  register_device();
  const TemporaryFolder folder;
  const auto device = make_device("cpu");
  State state(*device), other(*device);
  ParamStore params(kDevice, Precision::bf16);
  Graph g;
  params.parameter(g, "w", {5, 3, 3, 7}, {.stddev = 1});
  params.parameter(g, "b", {3}, {.stddev = 1});
  const auto check_copy = [&](const State& s) {
    const int64_t n = params.layout().total;
    std::vector<float> exact(static_cast<size_t>(n));
    std::vector<Bf16> copy(exact.size());
    s.read(kParams, 0, n, exact.data());
    s.read(kParamsBf16, 0, n, copy.data());
    for (size_t k = 0; k < copy.size(); ++k) REQUIRE(copy[k] == round_to_bf16(exact[k]));
    return copy;
  };
  params.initialise(state, Dtype::f32, 1);
  params.initialise(other, Dtype::f32, 2);
  const std::vector<Bf16> first = check_copy(state);
  CHECK(first != check_copy(other));
  params.save(folder / "w", state, {{kParams, ""}}, {});
  params.load(SafetensorsReader(folder / "w"), other, {{kParams, ""}});
  CHECK(check_copy(other) == first);

  // Without it a session would compute with zeros.
  State empty(*device);
  Graph reads;
  reads.output("y", reads.add1(make_op<Copy>(), {reads.state({kParamsBf16, 0}, {64}, "w")}));
  CHECK_THAT(message_of([&] { Session(make_plan(reads), empty); }), Contains("params_bf16"));
  for (const auto& [name, precision] :
       {std::pair{std::string("cpu"), Precision::bf16}, std::pair{std::string(kDevice), Precision::tf32}}) {
    State plain(*device);
    ParamStore store(name, precision);
    store.parameter(g, "w", {5, 3, 3, 7}, {});
    store.initialise(plain, Dtype::f32, 1);
    CHECK(!plain.has(kParamsBf16));
  }
}

TEST_CASE("the precision is part of a plan's fingerprint, and what a device lacks is said") {
  ParamStore params;
  const Graph g = training_graph(params, kNet);
  std::set<std::string> fingerprints;
  for (const Precision p : {Precision::fp32, Precision::tf32, Precision::bf16}) {
    const Plan plan = make_plan(g, {.device = "cpu", .precision = p});
    fingerprints.insert(plan.fingerprint());
    CHECK(has(plan.to_string(), "in " + name_of(p)));
  }
  CHECK(fingerprints.size() == 3);
  register_device();
  CHECK(precision_note("cpu", Precision::fp32).empty());
  CHECK_THAT(precision_note("cpu", Precision::bf16), Contains("emulated"));
  CHECK_THAT(precision_note("cpu", Precision::tf32), Contains("fp32"));
  CHECK(precision_note(kDevice, Precision::bf16).empty());
}
