// Graphs in which data gradients and decoders are fused, and what the passes made of them.
#pragma once

#include <map>
#include <string>

#include "layers/conv2d.h"
#include "layers/decoder_join.h"
#include "nets/motionnet.h"
#include "tests/unit/loss_graph.h"

namespace millrace::test {

inline PlanOptions fusing(bool on) { return {.fusions = {{Conv2dDx::kName, on}, {DecoderJoin::kName, on}}}; }

// "add leaky sum" -> nodes; "" is a data gradient (or deconvolution) by itself.
inline std::map<std::string, int64_t> forms(const Plan& plan) {
  std::map<std::string, int64_t> count;
  for (const PlanStep& step : plan.steps) {
    const auto* dx = dynamic_cast<const Conv2dDx*>(step.op.get());
    if (!dx) continue;
    std::string form;
    for (const auto& [has, name] : {std::pair(dx->attrs.add, "add"),
                                    {dx->attrs.negative_slope != 1, "leaky"},
                                    {dx->attrs.sum, "sum"}}) {
      if (has) form += (form.empty() ? "" : " ") + std::string(name);
    }
    ++count[form];
  }
  return count;
}

struct TrainingGraph {
  ParamStore params;
  Graph graph;
};

// The flows of all levels against given numbers: L = sum of r flow. Its gradients are a flat vector.
inline TrainingGraph net_graph(const MotionNetOptions& options, Shape images, Dtype real,
                               ParamStore params = {}) {
  TrainingGraph net{.params = std::move(params), .graph = Graph(real)};
  Graph& g = net.graph;
  const MotionNetFlows flows = motionnet(g, net.params, g.input("images", images), options);
  std::vector<Value> of, seeds;
  for (int level = kFinestLevel; level <= flows.coarsest; ++level) {
    of.push_back(flows.at(level));
    seeds.push_back(g.input("r" + std::to_string(level), g.shape(of.back())));
    g.output("flow" + std::to_string(level), of.back());
  }
  std::vector<Value> wanted;
  for (const Node& node : g.nodes()) {
    for (Value v : node.in) {
      if (g.info(v).state) wanted.push_back(v);
    }
  }
  const std::vector<Value> d = gradients(g, of, seeds, wanted);
  for (size_t k = 0; k < d.size(); ++k) g.output("d " + g.info(wanted[k]).name, d[k]);
  return net;
}

inline Results run_net(const TrainingGraph& net, const PlanOptions& options) {
  const auto device = make_device(options.device);
  State state(*device);
  net.params.initialise(state, net.graph.real(), 3);
  Session session(make_plan(net.graph, options), state, {.arena = nullptr, .poison = true});
  uint64_t seed = 1;
  for (const auto& [name, v] : net.graph.inputs()) {
    const Shape& shape = net.graph.shape(v);
    write_input(session, name, {shape, draw(shape.count(), -.5, .5, seed++)});
  }
  session.run();
  Results results;
  for (const auto& [name, v] : net.graph.outputs()) results[name] = session.get(name);
  return results;
}

}  // namespace millrace::test
