// The losses of a net on given flows, with their gradients: what the fusion of the losses is tested with.
#pragma once

#include <cmath>
#include <map>

#include "losses/multiscale_loss.h"
#include "nets/motion_loss.h"
#include "tests/catch.h"
#include "tests/unit/run_op.h"

namespace millrace::test {

// Outputs of a graph by name.
using Results = std::map<std::string, Numbers>;

inline int64_t count_steps(const Plan& plan, const std::string& op) {
  int64_t count = 0;
  for (const PlanStep& step : plan.steps) count += step.op->name() == op;
  return count;
}

// Where the losses do not bend: "flow<level>" samples away from integers, and "images" differ from frame to
// frame, positive in even ones and negative in odd ones. All numbers are floats.
inline Numbers draw_input(const std::string& name, const Shape& shape, uint64_t seed) {
  Random random(seed);
  Numbers values(static_cast<size_t>(shape.count()));
  for (size_t e = 0; e < values.size(); ++e) {
    double v = random.uniform(.1, .5);
    if (name == "images" && static_cast<int64_t>(e) % shape[3] / 3 % 2) v = -v;
    if (name.starts_with("flow") && name.size() > 4)
      v = (static_cast<double>(random.integer(-2, 1)) + 2 * v - .1) / level_scale(name[4] - '0');
    values[e] = static_cast<float>(v);
  }
  return values;
}

inline Results run_loss(const Graph& g, const PlanOptions& options) {
  const auto device = make_device(options.device);
  State state(*device);
  Session session(make_plan(g, options), state, {.arena = nullptr, .poison = true});
  uint64_t seed = 1;
  for (const auto& [name, value] : g.inputs()) {
    const Shape& shape = g.shape(value);
    write_input(session, name, {shape, draw_input(name, shape, seed++)});
  }
  session.run();
  Results results;
  for (const auto& [name, value] : g.outputs()) results[name] = session.get(name);
  return results;
}

// Equal, relative to the largest number of each output.
inline void require_equal(const Results& got, const Results& want, double tolerance) {
  REQUIRE(got.size() == want.size());
  for (const auto& [name, numbers] : want) {
    INFO(name);
    double largest = 0, error = 0;
    REQUIRE(got.at(name).size() == numbers.size());
    for (size_t e = 0; e < numbers.size(); ++e) {
      largest = std::max(largest, std::abs(numbers[e]));
      const double difference = std::abs(got.at(name)[e] - numbers[e]);
      if (!(difference <= error)) error = difference;
    }
    CHECK(largest > 0);
    CHECK(error <= tolerance * largest);
  }
}

struct LossSetup {
  int64_t batch = 1, height = 112, width = 112;
  int coarsest = 5;  // 56, 28, 14, 7
  MotionLossOptions options{.frames = 2};
};

inline Graph loss_graph(const LossSetup& s, Dtype real) {
  Graph g(real);
  const Value images = g.input("images", {s.batch, s.height, s.width, 3 * s.options.frames});
  MotionNetFlows flows{.coarsest = s.coarsest, .flows = {}};
  for (int l = 2; l <= s.coarsest; ++l) {
    const int64_t factor = int64_t{1} << (l - 1);
    flows.at(l) = g.input("flow" + std::to_string(l),
                          {s.batch, s.height / factor, s.width / factor, 2 * (s.options.frames - 1)});
  }
  const MotionLoss loss = motion_loss(g, images, flows, s.options);
  g.output("loss", loss.loss);
  for (const LossTerm& term : loss.terms) g.output(term.name, term.value);
  const std::vector<Value> d = gradients(g, loss.loss, flows.all());
  for (int l = 2; l <= s.coarsest; ++l) g.output("dflow" + std::to_string(l), d[static_cast<size_t>(l - 2)]);
  return g;
}

}  // namespace millrace::test
