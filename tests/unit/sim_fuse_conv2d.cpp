// Nets as plans for GPUs fuse them, on the simulated one, in f32 and bf16, against the same without fusion.
// Convolutions run as CUDA kernels here.
#include <cmath>

#include "cuda/register.h"
#include "tests/catch.h"
#include "tests/unit/fused_net.h"

using namespace millrace;
using namespace millrace::test;

namespace {

// |a - b| / |b| in L2, the largest of all outputs. In bf16 a number near 0 may fall on the other side of a
// leaky ReLU's bend, and then a single derivative is far off.
double distance(const Results& a, const Results& b) {
  double largest = 0;
  for (const auto& [name, want] : b) {
    double difference = 0, size = 0;
    for (size_t e = 0; e < want.size(); ++e) {
      difference += std::pow(a.at(name)[e] - want[e], 2);
      size += std::pow(want[e], 2);
    }
    REQUIRE(size > 0);
    largest = std::max(largest, std::sqrt(difference / size));
  }
  return largest;
}

}  // namespace

TEST_CASE("a fused net on the simulated GPU gives what the unfused one gives") {
  cuda_sim::register_backend(Registry::mutable_registry());
  const MotionNetOptions tiny{.frames = 2, .channels = .05, .kind = MotionNetKind::tiny};
  const Shape images{1, 16, 24, 6};
  const Results cpu = run_net(net_graph(tiny, images, Dtype::f32), {});
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    INFO(name_of(precision));
    const TrainingGraph net = net_graph(tiny, images, Dtype::f32, ParamStore("cuda-sim", precision));
    for (const char* version : {"plain", "tiled"}) {
      INFO(version);
      PlanOptions options = fusing(true);
      options.device = "cuda-sim";
      options.precision = precision;
      options.versions = {{"conv2d", version}, {"conv2d_dx", version}, {"conv2d_dw", version}};
      const Plan plan = make_plan(net.graph, options);
      CHECK(forms(plan)["add leaky sum"] == 3);
      CHECK(count_steps(plan, DecoderJoinDx::kName) == 2);
      const Results got = run_net(net, options);
      const double tolerance = precision == Precision::fp32 ? 1e-5 : .1;
      CHECK(distance(got, cpu) <= tolerance);
      options.fusions = fusing(false).fusions;
      CHECK(distance(got, run_net(net, options)) <= tolerance / 5);
    }
  }
}
