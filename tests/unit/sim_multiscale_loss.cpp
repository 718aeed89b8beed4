// The fused losses on the simulated GPU, both versions, against the graph as the net wrote it on the CPU.
#include "core/registry.h"
#include "cuda/register.h"
#include "tests/catch.h"
#include "tests/unit/loss_graph.h"

using namespace millrace;
using namespace millrace::test;

namespace {

void require_like_the_cpu(const LossSetup& s) {
  cuda_sim::register_backend(Registry::mutable_registry());
  const Graph g = loss_graph(s, Dtype::f32);
  const Results want = run_loss(loss_graph(s, Dtype::f64), {.device = "cpu"});
  const PlanOptions by_default{.device = "cuda-sim"};
  CHECK(count_steps(make_plan(g, by_default), MultiscaleLoss::kName) == 1);
  CHECK(count_steps(make_plan(g, by_default), "warp") == 0);
  for (const char* version : {"plain", "rows"}) {
    INFO(version);
    const PlanOptions options{.device = "cuda-sim", .versions = {{MultiscaleLoss::kName, version}}};
    require_equal(run_loss(g, options), want, 1e-3);  // the penalty's slope near its bend
  }
  const PlanOptions unfused{.device = "cuda-sim", .fusions = {{MultiscaleLoss::kName, false}}};
  CHECK(count_steps(make_plan(g, unfused), MultiscaleLoss::kName) == 0);
  require_equal(run_loss(g, unfused), want, 1e-3);
}

}  // namespace

TEST_CASE("the fused losses of a clip, 56 x 56 to 7 x 7") { require_like_the_cpu({}); }

TEST_CASE("the fused losses of two clips of twelve frames, and of windows cut on all sides") {
  require_like_the_cpu({.batch = 2, .height = 48, .width = 80, .coarsest = 4, .options = {.frames = 12}});
}

TEST_CASE("the fused losses down to 2 x 3, where borders are 0 wide") {
  require_like_the_cpu({.height = 64, .width = 96, .coarsest = 6});
}

TEST_CASE("the fused losses with other options of the net") {
  for (int kinds = 1; kinds < 8; ++kinds) {
    LossSetup s{.batch = 2, .height = 32, .width = 48, .coarsest = 3, .options = {.frames = 3}};
    s.options.pixel = kinds & 1;
    s.options.smoothness = kinds & 2;
    s.options.ssim = kinds & 4;
    s.options.lrn = kinds % 3 == 0;
    if (kinds > 4) s.options.normalization = LossNormalization::mean;
    INFO("kinds " << kinds);
    if (s.options.pixel || s.options.ssim) require_like_the_cpu(s);
  }
}
