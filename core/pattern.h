// What passes that put one op in the place of several look at: the nodes round a value.
#pragma once

#include <string>
#include <vector>

#include "core/graph.h"

namespace millrace {

// The attributes of a node that is known to be a T.
template <class T> const auto& attrs_of(const Node& node) { return static_cast<const T&>(*node.op).attrs; }

template <class T> const Node* as(const Node& node) { return node.op->name() == T::kName ? &node : nullptr; }

// From values to the nodes that make and read them. The graph outlives it.
class Surroundings {
 public:
  explicit Surroundings(const Graph& graph)
      : graph_(graph),
        readers_(static_cast<size_t>(graph.value_count())),
        kept_(static_cast<size_t>(graph.value_count())) {
    for (const Node& node : graph.nodes()) {
      for (Value v : node.in) readers_[static_cast<size_t>(v.id)].push_back(&node);
    }
    for (const auto& [name, v] : graph.outputs()) kept_[static_cast<size_t>(v.id)] = true;
    for (const Update& u : graph.updates()) kept_[static_cast<size_t>(u.next.id)] = true;
  }

  const Shape& shape(Value v) const { return graph_.shape(v); }
  size_t index(const Node& node) const { return static_cast<size_t>(&node - graph_.nodes().data()); }

  // A node that reads v in two places is there twice.
  const std::vector<const Node*>& readers(Value v) const { return readers_[static_cast<size_t>(v.id)]; }
  // Whether an output of the graph or an update of the State reads v.
  bool is_kept(Value v) const { return kept_[static_cast<size_t>(v.id)]; }

  // The node that makes v, if it is such an op.
  template <class T> const Node* maker(Value v) const {
    const int32_t node = graph_.info(v).node;
    return node < 0 ? nullptr : as<T>(graph_.nodes()[static_cast<size_t>(node)]);
  }

  // The only node that reads v, if it is such an op; outputs and updates may read v too.
  template <class T> const Node* only_node(Value v) const {
    return readers(v).size() == 1 ? as<T>(*readers(v).front()) : nullptr;
  }
  // The only reader of v, if it is such an op.
  template <class T> const Node* only_reader(Value v) const { return is_kept(v) ? nullptr : only_node<T>(v); }

  // The node of this op and inputs, in a graph whose equal nodes are joined.
  template <class T> const Node* find(const T& op, const std::vector<Value>& in) const {
    const std::string attributes = op.attributes();
    for (const Node* node : readers(in.front())) {
      if (as<T>(*node) && node->in == in && node->op->attributes() == attributes) return node;
    }
    return nullptr;
  }

 private:
  const Graph& graph_;
  std::vector<std::vector<const Node*>> readers_;  // per value
  std::vector<bool> kept_;                         // per value
};

}  // namespace millrace
