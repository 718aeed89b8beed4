// The pass that makes one decoder_join of concat(skip, leaky(up + b), flow + b_flow), and one decoder_join_dx
// of the gradient's slices and that of the leaky ReLU.
#include <map>
#include <set>

#include "core/passes.h"
#include "core/pattern.h"
#include "layers/bias.h"
#include "layers/concat.h"
#include "layers/decoder_join.h"
#include "layers/leaky_relu.h"
#include "layers/slice_channels.h"

namespace millrace {
namespace {

// One op in the place of several nodes: where it stands, what it reads and makes of the graph as it is.
struct Replacement {
  std::shared_ptr<const Op> op;
  std::vector<Value> in, made;
  std::string name;
};

class Matcher {
 public:
  explicit Matcher(const Graph& graph) : graph_(graph), g_(graph) {
    for (const Node& node : graph.nodes()) {
      if (as<Concat>(node)) match(node);
    }
  }

  const Replacement* at(size_t k) const {
    const auto found = places_.find(k);
    return found == places_.end() ? nullptr : &found->second;
  }
  bool is_taken(const Node& node) const { return taken_.count(&node) > 0; }

 private:
  // The bias that makes v, without an activation inside, if `reader` alone reads it.
  const Node* bias_for(Value v, const Node& reader) const {
    const Node* node = g_.maker<Bias>(v);
    const bool fits = node && attrs_of<Bias>(*node).negative_slope == 1 && !g_.is_kept(v) &&
                      g_.readers(v) == std::vector<const Node*>{&reader};
    return fits ? node : nullptr;
  }

  void match(const Node& concat) {
    if (concat.in.size() != 3) return;
    const Value up = concat.in[1];
    const Node* leaky = g_.maker<LeakyRelu>(up);
    if (!leaky || g_.is_kept(up) || !(attrs_of<LeakyRelu>(*leaky).slope > 0)) return;
    const Node *b = bias_for(leaky->in[0], *leaky), *b_flow = bias_for(concat.in[2], concat);
    if (!b || !b_flow || !match_gradient(concat, *leaky)) return;
    taken_.insert({&concat, leaky, b, b_flow});
    places_[g_.index(concat)] = {
        .op = make_op<DecoderJoin>(DecoderJoinAttrs{attrs_of<LeakyRelu>(*leaky).slope}),
        .in = {concat.in[0], b->in[0], b->in[1], b_flow->in[0], b_flow->in[1]},
        .made = {concat.out[0]},
        .name = concat.name};
  }

  // True if nothing but the concat reads what the leaky ReLU makes; or its gradient alone does too, and
  // becomes part of a decoder_join_dx.
  bool match_gradient(const Node& concat, const Node& leaky) {
    const Value up = leaky.out[0];
    const std::vector<const Node*>& readers = g_.readers(up);
    if (readers.size() == 1) return true;
    if (readers.size() != 2) return false;
    const Node* dx = as<LeakyReluDx>(*readers[readers[0] == &concat ? 1 : 0]);
    const int64_t S = g_.shape(concat.in[0])[3], U = g_.shape(up)[3], F = g_.shape(concat.in[2])[3];
    const double slope = attrs_of<LeakyRelu>(leaky).slope;
    if (!dx || dx->in[1] != up || attrs_of<LeakyReluDx>(*dx).slope != slope) return false;
    const Node* dup = g_.maker<SliceChannels>(dx->in[0]);
    if (!dup || g_.only_reader<LeakyReluDx>(dup->out[0]) != dx) return false;
    const Value dy = dup->in[0];
    const auto part = [&](int64_t begin, int64_t count) {
      return g_.find(SliceChannels({.begin = begin, .count = count}), {dy});
    };
    const Node *dskip = part(0, S), *dflow = part(S + U, F);
    if (part(S, U) != dup || !dskip || !dflow || g_.shape(dy) != g_.shape(concat.out[0])) return false;
    const size_t place = std::min({g_.index(*dskip), g_.index(*dup), g_.index(*dflow)});
    if (place < g_.index(concat)) return false;  // no gradient of this net's
    taken_.insert({dskip, dup, dflow, dx});
    places_[place] = {.op = make_op<DecoderJoinDx>(DecoderJoinDxAttrs{slope, S, U}),
                      .in = {dy, concat.out[0]},
                      .made = {dskip->out[0], dx->out[0], dflow->out[0]},
                      .name = concat.name};
    return true;
  }

  const Graph& graph_;
  Surroundings g_;
  std::map<size_t, Replacement> places_;
  std::set<const Node*> taken_;
};

}  // namespace

Graph fuse_decoder_join(const Graph& graph) {
  const Matcher matcher(graph);
  Rewriter rewriter(graph);
  for (size_t k = 0; k < graph.nodes().size(); ++k) {
    const Node& node = graph.nodes()[k];
    if (!matcher.is_taken(node)) rewriter.keep(node);
    const Replacement* r = matcher.at(k);
    if (!r) continue;
    std::vector<Value> in;
    for (Value v : r->in) in.push_back(rewriter[v]);
    const std::vector<Value> out = rewriter.emit(r->op, in, r->name);
    for (size_t o = 0; o < out.size(); ++o) rewriter.set(r->made[o], out[o]);
  }
  return rewriter.finish();
}

}  // namespace millrace
