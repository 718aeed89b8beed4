// Channels at multiples of 16 bytes, as convolutions on tensor cores want them, on the simulated GPU.
#include <algorithm>
#include <limits>
#include <set>

#include "core/flat_layout.h"
#include "core/reorder.h"
#include "cuda/conv2d_layouts.h"
#include "cuda/register.h"
#include "layers/conv2d.h"
#include "tests/unit/bf16_net.h"
#include "tests/unit/message_of.h"

using namespace millrace;
using namespace millrace::test;

namespace {

const Layout kDense;

Layout padded(std::vector<Layout::Block> pads) {
  return {.order = {0, 1, 2, 3}, .blocks = {}, .pads = std::move(pads)};
}

Layouts layouts_of(const Op& op, const std::vector<Spec>& in) {
  return padded_layouts(op, in, op.infer(in, Dtype::f32));
}

float number(float x) { return x; }
float number(Bf16 x) { return to_float(x); }

// What lies in a slice of a flat buffer and is no element of the parameter.
template <class T> int64_t others_than_zero(const State& state, const char* buffer, const FlatSlice& slice) {
  std::vector<T> memory(static_cast<size_t>(slice.count()));
  state.read(buffer, slice.offset, slice.count(), memory.data());
  const LayoutTable table = layout_table(slice.layout, slice.shape);
  for (int64_t o : table[0]) {
    for (int64_t p : table[1]) {
      for (int64_t q : table[2]) {
        for (int64_t c : table[3]) memory[static_cast<size_t>(o + p + q + c)] = T{};
      }
    }
  }
  return std::count_if(memory.begin(), memory.end(), [](T x) { return !(number(x) == 0); });
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
  CHECK(padded_weights({{5, 3, 3, 5}, Dtype::f64}) == kDense);
}

TEST_CASE("weights and all that lies beside them have zeros behind their channels after three steps") {
  cuda_sim::register_backend(Registry::mutable_registry());
  constexpr NetSize kNet{.batch = 1};
  const auto device = make_device("cuda-sim");
  State state(*device);
  ParamStore params("cuda-sim", Precision::bf16);
  const Graph graph = training_graph(params, kNet);
  params.initialise(state, Dtype::f32, 1);
  Session session(make_plan(graph, {.device = "cuda-sim", .precision = Precision::bf16}), state,
                  {.arena = nullptr, .poison = true});
  std::set<std::string> weights;
  for (const FlatSlice& slice : params.layout().slices) weights.insert(slice.name);
  for (const PlanStep& step : session.plan().steps) {
    if (step.op->name() != Reorder::kName) continue;
    const std::string source = step.name.substr(0, step.name.rfind("/reorder"));
    INFO(step.name);
    CHECK_FALSE(weights.contains(source));
    CHECK_FALSE(weights.contains(source.substr(0, source.rfind("/bf16"))));
  }
  for (int64_t k = 0; k < 3; ++k) {
    session.set("clip", waves(kNet, 1, k));
    session.set_scalar("rate", update_rate({}, 1e-4, k + 1));
    session.run();
  }
  int64_t with_pads = 0;
  for (const FlatSlice& slice : params.layout().slices) {
    if (slice.layout.dense()) continue;
    INFO(slice.name);
    ++with_pads;
    for (const char* buffer : {kParams, kGrads, "moment1", "moment2"})
      CHECK(others_than_zero<float>(state, buffer, slice) == 0);
    CHECK(others_than_zero<Bf16>(state, kParamsBf16, slice) == 0);
  }
  CHECK(with_pads > 20);
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
    CHECK(message_of([&] { kernel.run(args); }).find("conv2d, operand 0") != std::string::npos);
  }
}
