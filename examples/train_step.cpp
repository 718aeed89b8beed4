// A small net on the millrace library, and one training step of it: two convolutions learn to blur an image.
#include <cstdio>

#include "core/params.h"
#include "core/session.h"
#include "layers/conv2d.h"
#include "layers/leaky_relu.h"
#include "layers/sub.h"
#include "losses/charbonnier.h"
#include "optim/update.h"

using namespace millrace;

int main() {
  // A net is a function that appends nodes to a graph and takes its weights from a store.
  Graph g;
  ParamStore params;
  const Value image = g.input("image", {1, 16, 16, 3}), target = g.input("target", {1, 16, 16, 3});
  const Value w1 = params.parameter(g, "conv1.weight", {8, 3, 3, 3}, {.stddev = msra(27)});
  const Value b1 = params.parameter(g, "conv1.bias", {8}, {});
  const Value w2 = params.parameter(g, "conv2.weight", {3, 3, 3, 8}, {.stddev = msra(72)});
  const Value b2 = params.parameter(g, "conv2.bias", {3}, {});
  const Value hidden = leaky_relu(g, conv2d(g, image, w1, b1, {.stride = 1, .pad = 1}));
  const Value guess = conv2d(g, hidden, w2, b2, {.stride = 1, .pad = 1});
  const Value loss =
      charbonnier(g, sub(g, guess, target), {.alpha = 1, .beta = 1, .normalizer = 16 * 16 * 3});

  // Gradients and the optimizer are nodes too; the plan decides kernels and memory before anything is
  // allocated.
  g.output("loss", loss);
  const OptimizerOptions adam{.kind = OptimizerKind::adam};
  train_step(g, loss, params.layout(), adam);
  const Plan plan = make_plan(g);
  std::printf("%s", plan.to_string().c_str());

  const auto device = make_device("cpu");
  State state(*device);
  params.initialise(state, Dtype::f32, /*seed=*/1);
  Session session(plan, state);
  session.set("image", std::vector<float>(16 * 16 * 3, 1.f));
  session.set("target", std::vector<float>(16 * 16 * 3, .5f));
  for (int step = 1; step <= 2; ++step) {
    session.set_scalar("rate", update_rate(adam, 1e-2, step));
    session.run();
    std::printf("step %d: loss %.6f\n", step, session.get_scalar("loss"));
  }
}
