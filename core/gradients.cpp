// Reverse-mode automatic differentiation over the node list (Griewank & Walther, Evaluating Derivatives,
// chapter 3).
#include "core/add.h"
#include "core/fill.h"
#include "core/graph.h"

namespace millrace {
namespace {

// Values from which `wanted` can be reached: only they need a gradient.
std::vector<bool> depends_on(const Graph& g, std::span<const Value> wanted) {
  std::vector<bool> marked(static_cast<size_t>(g.value_count()));
  for (Value v : wanted) marked[static_cast<size_t>(v.id)] = true;
  for (const Node& node : g.nodes()) {
    bool any = false;
    for (Value v : node.in) any = any || marked[static_cast<size_t>(v.id)];
    if (!any) continue;
    for (Value v : node.out) marked[static_cast<size_t>(v.id)] = true;
  }
  return marked;
}

}  // namespace

std::vector<Value> gradients(Graph& g, std::span<const Value> of, std::span<const Value> seeds,
                             std::span<const Value> wanted) {
  const std::vector<bool> needed = depends_on(g, wanted);
  std::vector<Value> d(static_cast<size_t>(g.value_count()));  // dL/dv so far
  // Before seeds are summed: what is appended from here on is not derived.
  const auto last = static_cast<int64_t>(g.nodes().size()) - 1;
  auto accumulate = [&](Value v, Value dv) {
    Value& sum = d[static_cast<size_t>(v.id)];
    sum = sum ? add(g, sum, dv) : dv;
  };
  if (of.size() != seeds.size()) {
    fail(ErrorKind::runtime,
         {"gradients", std::to_string(of.size()) + " seeds", std::to_string(seeds.size()), ""});
  }
  for (size_t k = 0; k < of.size(); ++k) {
    if (g.shape(of[k]) == g.shape(seeds[k]))
      accumulate(of[k], seeds[k]);
    else
      fail(ErrorKind::runtime,
           {"gradients", "a seed of shape " + g.shape(of[k]).to_string(), g.shape(seeds[k]).to_string(), ""});
  }

  for (int64_t k = last; k >= 0; --k) {
    const Node node = g.nodes()[static_cast<size_t>(k)];  // a copy: the list grows
    std::vector<Value> dout;
    bool reached = false;
    for (Value v : node.out) {
      dout.push_back(d[static_cast<size_t>(v.id)]);
      reached = reached || dout.back();
    }
    std::vector<bool> want;
    bool any = false;
    for (Value v : node.in) {
      want.push_back(needed[static_cast<size_t>(v.id)]);
      any = any || want.back();
    }
    if (!reached || !any) continue;
    if (!node.op->has_gradient()) {
      fail(ErrorKind::runtime,
           {node.name, "an op with a gradient, for one is wanted through it", "one without", ""});
    }
    const size_t cut = node.name.rfind('/');
    Graph::Scope scope(g, cut == std::string::npos ? "d" : node.name.substr(0, cut) + "/d");
    const std::vector<Value> din = node.op->grad({g, node.in, node.out, dout, want});
    if (din.size() != node.in.size()) {
      fail(ErrorKind::runtime, {node.name, "a gradient rule that returns " + std::to_string(node.in.size()),
                                std::to_string(din.size()), ""});
    }
    for (size_t i = 0; i < node.in.size(); ++i) {
      if (!want[i] || !din[i]) continue;
      if (!(g.shape(din[i]) == g.shape(node.in[i])) || g.spec(din[i]).dtype != g.spec(node.in[i]).dtype) {
        fail(ErrorKind::runtime,
             {node.name,
              "a gradient of input " + std::to_string(i) + " like it, " + g.spec(node.in[i]).to_string(),
              g.spec(din[i]).to_string(), ""});
      }
      accumulate(node.in[i], din[i]);
    }
  }

  std::vector<Value> result;
  for (Value v : wanted) {
    const Value dv = d[static_cast<size_t>(v.id)];
    result.push_back(dv ? dv : fill(g, g.shape(v), 0));
  }
  return result;
}

std::vector<Value> gradients(Graph& g, Value loss, std::span<const Value> wanted) {
  if (g.shape(loss).count() != 1) {
    fail(ErrorKind::runtime,
         {"gradients", "a loss of one element", g.shape(loss).to_string(), "sum it first"});
  }
  const Value one = fill(g, g.shape(loss), 1);
  return gradients(g, std::span(&loss, 1), std::span(&one, 1), wanted);
}

}  // namespace millrace
