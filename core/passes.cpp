#include "core/passes.h"

#include <map>

namespace millrace {

Rewriter::Rewriter(const Graph& from)
    : from_(from), to_(from.real()), map_(static_cast<size_t>(from.value_count())) {
  for (int32_t id = 0; id < from.value_count(); ++id) {
    const ValueInfo& info = from.info(Value{id});
    if (info.node >= 0) continue;
    map_[static_cast<size_t>(id)] =
        info.state ? to_.state(*info.state, info.spec, info.name) : to_.input(info.name, info.spec);
  }
}

std::vector<Value> Rewriter::emit(std::shared_ptr<const Op> op, const std::vector<Value>& new_inputs,
                                  const std::string& name, Dtype real) {
  const std::vector<Value> out = to_.add(std::move(op), new_inputs, real);
  Node& node = to_.nodes_.back();
  node.name = name;
  for (Value v : out) to_.values_[static_cast<size_t>(v.id)].name = name;
  return out;
}

void Rewriter::set_layouts(const std::vector<Value>& values, const std::vector<Layout>& layouts) {
  for (size_t k = 0; k < values.size(); ++k)
    to_.values_[static_cast<size_t>(values[k].id)].spec.layout = layouts[k];
}

void Rewriter::keep(const Node& node) {
  std::vector<Value> in;
  for (Value v : node.in) in.push_back((*this)[v]);
  const std::vector<Value> out = emit(node.op, in, node.name, node.real);
  for (size_t k = 0; k < out.size(); ++k) set(node.out[k], out[k]);
}

Graph Rewriter::finish() {
  std::map<std::string, Value> outputs;
  std::vector<Update> updates;
  for (const auto& [name, value] : from_.outputs()) outputs[name] = (*this)[value];
  for (const Update& u : from_.updates()) updates.push_back({(*this)[u.state], (*this)[u.next]});
  return finish(outputs, updates);
}

Graph Rewriter::finish(const std::map<std::string, Value>& outputs, const std::vector<Update>& updates) {
  for (const auto& [name, value] : outputs) to_.output(name, value);
  for (const Update& u : updates) to_.update(u.state, u.next);
  return std::move(to_);
}

Graph remove_dead_nodes(const Graph& graph) {
  std::vector<bool> live(static_cast<size_t>(graph.value_count()));
  for (const auto& [name, value] : graph.outputs()) live[static_cast<size_t>(value.id)] = true;
  for (const Update& u : graph.updates()) live[static_cast<size_t>(u.next.id)] = true;
  std::vector<bool> needed(graph.nodes().size());
  for (size_t k = graph.nodes().size(); k-- > 0;) {
    const Node& node = graph.nodes()[k];
    for (Value v : node.out) needed[k] = needed[k] || live[static_cast<size_t>(v.id)];
    if (!needed[k]) continue;
    for (Value v : node.in) live[static_cast<size_t>(v.id)] = true;
  }
  Rewriter rewriter(graph);
  for (size_t k = 0; k < graph.nodes().size(); ++k) {
    if (needed[k]) rewriter.keep(graph.nodes()[k]);
  }
  return rewriter.finish();
}

Graph join_equal_nodes(const Graph& graph) {
  Rewriter rewriter(graph);
  std::map<std::string, std::vector<Value>> seen;
  for (const Node& node : graph.nodes()) {
    std::string key = std::string(node.op->name()) + "{" + node.op->attributes() + "}";
    for (Value v : node.in) key += " " + std::to_string(rewriter[v].id);
    if (auto found = seen.find(key); found != seen.end()) {
      for (size_t k = 0; k < node.out.size(); ++k) rewriter.set(node.out[k], found->second[k]);
      continue;
    }
    rewriter.keep(node);
    for (Value v : node.out) seen[key].push_back(rewriter[v]);
  }
  return rewriter.finish();
}

namespace {

// How many nodes, outputs and updates read each value.
std::vector<int> reader_counts(const Graph& graph) {
  std::vector<int> readers(static_cast<size_t>(graph.value_count()));
  for (const Node& node : graph.nodes()) {
    for (Value v : node.in) ++readers[static_cast<size_t>(v.id)];
  }
  for (const auto& [name, v] : graph.outputs()) ++readers[static_cast<size_t>(v.id)];
  for (const Update& u : graph.updates()) ++readers[static_cast<size_t>(u.next.id)];
  return readers;
}

}  // namespace

Graph fuse_nodes(const Graph& graph) {
  const std::vector<int> readers = reader_counts(graph);
  Rewriter rewriter(graph);
  for (const Node& node : graph.nodes()) {
    const int32_t before = node.in.size() == 1 ? graph.info(node.in[0]).node : -1;
    const Node* producer = before < 0 ? nullptr : &graph.nodes()[static_cast<size_t>(before)];
    std::shared_ptr<const Op> joined;
    if (producer && producer->out.size() == 1 && readers[static_cast<size_t>(node.in[0].id)] == 1) {
      joined = producer->op->absorb(*node.op);
    }
    if (!joined) {
      rewriter.keep(node);
      continue;
    }
    // The producer, kept before, has no reader any more: it goes with the dead nodes.
    std::vector<Value> in;
    for (Value v : producer->in) in.push_back(rewriter[v]);
    rewriter.set(node.out[0], rewriter.emit(std::move(joined), in, producer->name).front());
  }
  return remove_dead_nodes(rewriter.finish());
}

}  // namespace millrace
