// Channels padded to what tensor cores read: which reorders are left in plans whose convolutions want that,
// and that what fills up stays zero.
#include <fmt/format.h>

#include <algorithm>

#include "core/reorder.h"
#include "cuda/register.h"
#include "tests/unit/bf16_net.h"

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
    const LayoutTable t = layout_table(slice.layout, slice.shape);
    std::vector<int64_t> places{slice.offset};
    for (int axis = 0; axis < slice.shape.rank(); ++axis) {
      std::vector<int64_t> next;
      for (int64_t place : places)
        for (int64_t offset : t[static_cast<size_t>(axis)]) next.push_back(place + offset);
      places = std::move(next);
    }
    for (int64_t place : places) values[static_cast<size_t>(place)] = 0;
  }
  return std::count_if(values.begin(), values.end(), [](double v) { return !(v == 0); });
}

}  // namespace

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
