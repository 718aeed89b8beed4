// Runs one op on numbers: the shortest way to a value with a known answer.
#pragma once

#include <vector>

#include "core/device.h"
#include "core/session.h"

namespace millrace::test {

using Numbers = std::vector<double>;

struct OpInput {
  Shape shape;
  Numbers values;
  Dtype dtype = Dtype::f64;  // real inputs take the type of the graph
};

inline void write_input(Session& session, const std::string& name, const OpInput& in) {
  switch (session.input(name).dtype) {
    case Dtype::f64:
      return session.set(name, in.values);
    case Dtype::f32:
      return session.set(name, std::vector<float>(in.values.begin(), in.values.end()));
    case Dtype::i32:
      return session.set(name, std::vector<int32_t>(in.values.begin(), in.values.end()));
    default:
      return session.set(name, std::vector<uint8_t>(in.values.begin(), in.values.end()));
  }
}

// All outputs of the op.
inline std::vector<Numbers> run_op(std::shared_ptr<const Op> op, const std::vector<OpInput>& inputs,
                                   Dtype real = Dtype::f64) {
  Graph graph(real);
  std::vector<Value> in;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Dtype dtype = inputs[i].dtype == Dtype::f64 ? real : inputs[i].dtype;
    in.push_back(graph.input("in" + std::to_string(i), Spec{inputs[i].shape, dtype}));
  }
  const std::vector<Value> out = graph.add(std::move(op), in);
  for (size_t o = 0; o < out.size(); ++o) graph.output("out" + std::to_string(o), out[o]);

  const auto device = make_device("cpu");
  State state(*device);
  Session session(make_plan(graph), state, {.arena = nullptr, .poison = true});
  for (size_t i = 0; i < inputs.size(); ++i) write_input(session, "in" + std::to_string(i), inputs[i]);
  session.run();
  std::vector<Numbers> results;
  for (size_t o = 0; o < out.size(); ++o) results.push_back(session.get("out" + std::to_string(o)));
  return results;
}

// Numbers of [low, high) that look random, the same ones every time.
inline Numbers draw(int64_t count, double low, double high, uint64_t seed) {
  Random random(seed);
  Numbers values(static_cast<size_t>(count));
  for (double& v : values) v = random.uniform(low, high);
  return values;
}

}  // namespace millrace::test
