// decoder_join against the ops that MotionNet's decoder is built of: y and every gradient, to the bit.
#include "layers/decoder_join.h"

#include <functional>

#include "layers/bias.h"
#include "layers/concat.h"
#include "layers/leaky_relu.h"
#include "tests/catch.h"
#include "tests/unit/run_op.h"

namespace millrace {
namespace {

using Join = std::function<Value(Graph&, const DecoderParts&)>;

// y, then the gradients to all five inputs of sum(r y).
std::vector<test::Numbers> results_of(const Join& join) {
  const std::vector<Shape> shapes{{2, 3, 4, 5}, {2, 3, 4, 3}, {3}, {2, 3, 4, 2}, {2}};
  Graph g(Dtype::f64);
  std::vector<Value> in;
  for (size_t i = 0; i < shapes.size(); ++i) in.push_back(g.input("in" + std::to_string(i), shapes[i]));
  const Value y = join(g, {in[0], in[1], in[2], in[3], in[4]}), r = g.input("r", g.shape(y));
  g.output("y", y);
  const std::vector<Value> d = gradients(g, std::vector<Value>{y}, std::vector<Value>{r}, in);
  for (size_t i = 0; i < d.size(); ++i) g.output("d" + std::to_string(i), d[i]);

  const auto device = make_device("cpu");
  State state(*device);
  Session session(make_plan(g), state, {.arena = nullptr, .poison = true});
  for (size_t i = 0; i < shapes.size(); ++i)
    session.set("in" + std::to_string(i), test::draw(shapes[i].count(), -1, 1, i));
  session.set("r", test::draw(g.shape(y).count(), -1, 1, 99));
  session.run();
  std::vector<test::Numbers> results{session.get("y")};
  for (size_t i = 0; i < d.size(); ++i) results.push_back(session.get("d" + std::to_string(i)));
  return results;
}

}  // namespace

TEST_CASE("decoder_join computes what bias, leaky ReLU and concat do, and so do its gradients") {
  const auto one = results_of([](Graph& g, const DecoderParts& p) { return decoder_join(g, p); });
  const auto many = results_of([](Graph& g, const DecoderParts& p) {
    return concat(g, {p.skip, leaky_relu(g, bias(g, p.up, p.b)), bias(g, p.flow, p.b_flow)});
  });
  REQUIRE(one.size() == 6);
  CHECK(one == many);
}

}  // namespace millrace
