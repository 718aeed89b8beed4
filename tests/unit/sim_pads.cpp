// Channels padded to what tensor cores read: which reorders are left in plans whose convolutions want that,
// and that what fills up stays zero.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/reorder.h"
#include "cuda/conv2d_layouts.h"
#include "cuda/register.h"
#include "layers/conv2d.h"
#include "tests/unit/bf16_net.h"
#include "tests/unit/message_of.h"

using namespace millrace;

namespace {

struct Moved {
  double reorders = 0, all = 0;  // bytes
};

Moved bytes_moved(const Plan& plan) {
  Moved moved;
  for (const PlanStep& step : plan.steps) {
    moved.all += step.cost.bytes;
    if (step.op->name() != Reorder::kName) continue;
    moved.reorders += step.cost.bytes;
    fmt::print("{:<60} {:>24} {:>8.2f} MB\n", step.name,
               plan.specs[static_cast<size_t>(step.out[0].id)].to_string(), step.cost.bytes / 1e6);
  }
  return moved;
}

// Elements of a buffer that belong to no parameter and are not 0.
int64_t stray(const State& state, const char* buffer, const FlatLayout& layout) {
  std::vector<double> values = to_double(state.at(buffer));
  for (const FlatSlice& slice : layout.slices) {
    for (int64_t place : layout_places(slice.layout, slice.shape))
      values[static_cast<size_t>(slice.offset + place)] = 0;
  }
  return std::count_if(values.begin(), values.end(), [](double v) { return !(v == 0); });
}

const Layout kDense;

Layout padded(std::vector<Layout::Block> pads) {
  return {.order = {0, 1, 2, 3}, .blocks = {}, .pads = std::move(pads)};
}

Layouts layouts_of(const Op& op, const std::vector<Spec>& in) {
  return padded_conv2d(op, in, op.infer(in, Dtype::f32));
}

}  // namespace

TEST_CASE("convolutions want channels at multiples of 16 bytes, and what is f32 beside bf16 densely") {
  const Spec x{{2, 8, 8, 33}, Dtype::bf16}, w{{20, 3, 3, 33}, Dtype::bf16}, b{{20}, Dtype::f32};
  const Spec y{{2, 8, 8, 20}, Dtype::bf16};
  const Layout eight = padded({{3, 8}}), both = padded({{0, 8}, {3, 8}});
  const Conv2d conv({.pad = 1}), head({.pad = 1, .precise = true});
  CHECK(layouts_of(conv, {x, w, b}).in == std::vector{eight, both, kDense});
  CHECK(layouts_of(conv, {x, w, b}).out == std::vector{eight});
  CHECK(layouts_of(head, {x, w, b}).in == std::vector{eight, both, kDense});
  CHECK(layouts_of(head, {x, w, b}).out == std::vector{kDense});

  const Conv2dDx dx({.pad = 1, .height = 8, .width = 8, .add = true, .negative_slope = .1, .sum = true});
  CHECK(layouts_of(dx, {y, w, x, x}).in == std::vector{eight, both, eight, eight});
  CHECK(layouts_of(dx, {y, w, x, x}).out == std::vector{eight, kDense});
  const Conv2dDw dw({.pad = 1, .kernel_height = 3, .kernel_width = 3});
  CHECK(layouts_of(dw, {x, y}).in == std::vector{eight, eight});
  CHECK(layouts_of(dw, {x, y}).out == std::vector{both});

  CHECK(padded_weights({{20, 3, 3, 33}, Dtype::f32}) == padded({{3, 4}}));
  CHECK(padded_weights({{20, 3, 3, 64}, Dtype::bf16}) == padded({{0, 8}}));
  CHECK(padded_weights({{64, 3, 3, 64}, Dtype::bf16}) == kDense);
}

TEST_CASE("a bf16 step of the full net reorders next to nothing") {
  cuda_sim::register_backend(Registry::mutable_registry());
  ParamStore params("cuda-sim", Precision::bf16);
  const Graph g = test::training_graph(params, {.batch = 16, .extent = 224, .frames = 11, .channels = 1});
  const Moved moved = bytes_moved(make_plan(g, {.device = "cuda-sim", .precision = Precision::bf16}));
  fmt::print("reorders {:.1f} MB of {:.1f} MB\n", moved.reorders / 1e6, moved.all / 1e6);
  CHECK(moved.reorders < 0.005 * moved.all);
  // 33 channels of the frames end at 40, 20 outputs of a head at 24.
  int padded = 0;
  for (const FlatSlice& slice : params.layout().slices) padded += !slice.layout.dense();
  CHECK(padded == 1 + 5 + 4 + 4);  // conv1, heads, flows' deconvolutions, convolutions of concatenations
}

TEST_CASE("what fills up channels stays zero through training") {
  cuda_sim::register_backend(Registry::mutable_registry());
  const auto device = make_device("cuda-sim");
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    INFO(name_of(precision));
    State state(*device);
    ParamStore params("cuda-sim", precision);
    const Graph g = test::training_graph(params, {});
    params.initialise(state, Dtype::f32, 1);
    Session session(make_plan(g, {.device = "cuda-sim", .precision = precision}), state,
                    {.arena = nullptr, .poison = true});
    for (int64_t step = 0; step < 2; ++step) {
      session.set("clip", test::waves({}, 1, step));
      session.set_scalar("rate", 1e-3);
      session.run();
      CHECK(std::isfinite(session.get_scalar("loss")));
    }
    for (const char* buffer : {kParams, kGrads, "moment1", "moment2"}) {
      INFO(buffer);
      CHECK(stray(state, buffer, params.layout()) == 0);
    }
    if (precision == Precision::bf16) CHECK(stray(state, kParamsBf16, params.layout()) == 0);
  }
}

TEST_CASE("a convolution of the simulated GPU refuses an operand with something else behind its channels") {
  cuda_sim::register_backend(Registry::mutable_registry());
  const Conv2d conv(Conv2dAttrs{});
  const std::vector<Spec> in{{{1, 2, 2, 3}, Dtype::f32}, {{4, 1, 1, 3}, Dtype::f32}, {{4}, Dtype::f32}};
  const std::vector<Spec> out = conv.infer(in, Dtype::f32);
  const Kernel& kernel = *Registry::get().kernels("conv2d", "cuda-sim", Dtype::f32).front();
  REQUIRE(kernel.version == "cpu");
  const Prepared prepared = kernel.prepare(conv, in, out).value();
  std::vector<float> x(16), w(16, 0), b(4), y(16, std::numeric_limits<float>::quiet_NaN());
  for (size_t pixel = 0; pixel < 4; ++pixel) x[4 * pixel] = 1;
  w[0] = 2;
  const std::vector<Tensor> inputs{{x.data(), in[0].shape, Dtype::f32},
                                   {w.data(), in[1].shape, Dtype::f32},
                                   {b.data(), in[2].shape, Dtype::f32}};
  const std::vector<Tensor> outputs{{y.data(), out[0].shape, Dtype::f32}};
  const KernelArgs args{.op = conv, .in = inputs, .out = outputs, .prepared = prepared.state.get()};
  kernel.run(args);
  for (size_t pixel = 0; pixel < 4; ++pixel) CHECK(y[4 * pixel] == 2);
  for (const float wrong : {1e-30f, std::numeric_limits<float>::quiet_NaN()}) {
    x[7] = wrong;
    CHECK(test::message_of([&] { kernel.run(args); }).find("conv2d, operand 0") != std::string::npos);
  }
}
