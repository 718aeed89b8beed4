// The pass that makes one conv2d_dx of a data gradient and what follows it in a net: the sum with the
// gradient of a skip connection, the gradient of the leaky ReLU that made x, and the bias gradient of the
// layer before.
#include <map>
#include <set>

#include "core/add.h"
#include "core/passes.h"
#include "core/pattern.h"
#include "layers/conv2d.h"
#include "layers/leaky_relu.h"

namespace millrace {
namespace {

// One op in the place of `nodes`, where the last of them stands that dx needs.
struct Match {
  Conv2dDxAttrs attrs;
  std::vector<Value> in;
  std::vector<Value> made;  // dx[, db] of the graph as it is
  std::vector<const Node*> nodes;
  size_t place = 0;
};

class Matcher {
 public:
  explicit Matcher(const Graph& graph) : g_(graph) {}

  // `taken`: nodes that are part of another match.
  Match match(const Node& node, const std::set<const Node*>& taken) const {
    Match m{.attrs = attrs_of<Conv2dDx>(node),
            .in = node.in,
            .made = {node.out[0]},
            .nodes = {&node},
            .place = g_.index(node)};
    if (m.attrs.fused()) return m;
    const auto go_on = [&](const Node& next) {
      m.nodes.push_back(&next);
      m.made[0] = next.out[0];
      m.place = g_.index(next);
    };
    if (const Node* sum = g_.only_reader<Add>(m.made[0]); sum && !taken.count(sum)) {
      m.attrs.add = true;
      m.in.push_back(sum->in[0] == m.made[0] ? sum->in[1] : sum->in[0]);
      go_on(*sum);
    }
    const Node* leaky = g_.only_reader<LeakyReluDx>(m.made[0]);
    if (leaky && leaky->in[0] == m.made[0] && attrs_of<LeakyReluDx>(*leaky).slope != 1) {
      m.attrs.negative_slope = attrs_of<LeakyReluDx>(*leaky).slope;
      m.in.push_back(leaky->in[1]);
      go_on(*leaky);
    }
    if (const Node* db = g_.find(Conv2dDb{}, {m.made[0]})) {
      m.attrs.sum = true;
      m.made.push_back(db->out[0]);
      m.nodes.push_back(db);
    }
    return m;
  }

 private:
  Surroundings g_;
};

}  // namespace

Graph fuse_conv2d_dx(const Graph& graph) {
  const Matcher matcher(graph);
  std::map<size_t, Match> matches;  // by place
  std::set<const Node*> taken;
  // From the last node: of two data gradients that meet, the later one adds, and the earlier one's is there.
  for (size_t k = graph.nodes().size(); k-- > 0;) {
    const Node* node = as<Conv2dDx>(graph.nodes()[k]);
    if (!node) continue;
    Match m = matcher.match(*node, taken);
    if (m.nodes.size() == 1) continue;
    taken.insert(m.nodes.begin(), m.nodes.end());
    matches.emplace(m.place, std::move(m));
  }
  Rewriter rewriter(graph);
  for (size_t k = 0; k < graph.nodes().size(); ++k) {
    const Node& node = graph.nodes()[k];
    if (!taken.count(&node)) {
      rewriter.keep(node);
    } else if (const auto found = matches.find(k); found != matches.end()) {
      const Match& m = found->second;
      std::vector<Value> in;
      for (Value v : m.in) in.push_back(rewriter[v]);
      const std::vector<Value> out = rewriter.emit(make_op<Conv2dDx>(m.attrs), in, m.nodes.front()->name);
      for (size_t o = 0; o < out.size(); ++o) rewriter.set(m.made[o], out[o]);
    }
  }
  return rewriter.finish();
}

}  // namespace millrace
