#include "core/layouts.h"

#include <map>

#include "core/passes.h"
#include "core/reorder.h"

namespace millrace {
namespace {

class Arranger {
 public:
  Arranger(const Graph& graph, const ChooseFn& choose) : g_(graph), choose_(choose), rewriter_(graph) {}

  ArrangedGraph run() {
    for (const Node& node : g_.nodes()) arrange(node);
    std::map<std::string, Value> outputs;
    std::vector<Update> updates;
    for (const auto& [name, v] : g_.outputs()) outputs[name] = version(v, {});
    for (const Update& u : g_.updates())
      updates.push_back({rewriter_[u.state], version(u.next, g_.spec(u.state).layout)});
    return {rewriter_.finish(outputs, updates), std::move(choices_)};
  }

 private:
  std::vector<Spec> specs(const std::vector<Value>& values, bool as_they_lie) const {
    std::vector<Spec> result;
    for (Value v : values) {
      const Value now = rewriter_[v];
      result.push_back(now && as_they_lie ? rewriter_.graph().spec(now) : g_.spec(v));
    }
    return result;
  }

  void arrange(const Node& node) {
    const std::vector<Spec> out = specs(node.out, false);
    Choice choice = choose_(node, specs(node.in, false), out);
    if (choice.kernel->follow) {
      if (auto followed = choice.kernel->follow(*node.op, specs(node.in, true), out))
        choice.prepared = std::move(*followed);
    }
    Layouts layouts = choice.prepared.layouts;
    layouts.in.resize(node.in.size());
    layouts.out.resize(node.out.size());
    std::vector<Value> in;
    for (size_t i = 0; i < node.in.size(); ++i) in.push_back(version(node.in[i], layouts.in[i]));
    const std::vector<Value> made = rewriter_.emit(node.op, in, node.name, node.real);
    rewriter_.set_layouts(made, layouts.out);
    for (size_t o = 0; o < made.size(); ++o) rewriter_.set(node.out[o], made[o]);
    choices_.push_back(std::move(choice));
  }

  // The new value for an old one, in this layout.
  Value version(Value old, const Layout& layout) {
    const Value first = rewriter_[old];
    const Spec spec = rewriter_.graph().spec(first);
    if (spec.layout == layout) return first;
    Value& again = others_[{first, layout.to_string()}];
    if (again) return again;
    const Node node{.op = make_op<Reorder>(ReorderAttrs{spec.layout, layout}),
                    .in = {first},
                    .out = {},
                    .name = rewriter_.graph().info(first).name + "/reorder"};
    const Spec plain{spec.shape, spec.dtype};
    choices_.push_back(choose_(node, {plain}, {plain}));
    again = rewriter_.emit(node.op, node.in, node.name).front();
    rewriter_.set_layouts({again}, {layout});
    return again;
  }

  const Graph& g_;
  const ChooseFn& choose_;
  Rewriter rewriter_;
  std::vector<Choice> choices_;
  std::map<std::pair<Value, std::string>, Value> others_;
};

}  // namespace

ArrangedGraph arrange_layouts(const Graph& graph, const ChooseFn& choose) {
  return Arranger(graph, choose).run();
}

}  // namespace millrace
