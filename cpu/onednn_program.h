// A node of a plan as one primitive of oneDNN: for the files that oneDNN is behind, and only these.
#pragma once

#include <dnnl.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/registry.h"

namespace millrace::cpu::onednn {

using dnnl::memory;

const dnnl::engine& engine();

// Scratch memory is the plan's.
dnnl::primitive_attr user_scratchpad();

// oneDNN's reference loops are hundreds of times slower than its other code.
inline bool is_reference(const dnnl::primitive_desc_base& desc) {
  return std::string(desc.impl_info_str()).starts_with("ref");
}

// oneDNN names extents N, C, H, W (weights O, I, kh, kw) whatever their order in memory; ours are N, H, W, C.
memory::dims dims_of(const Shape& shape);
memory::desc describe(const Spec& spec);
memory::desc describe_any(const Shape& shape);  // in the layout that oneDNN likes best
// Nothing: it is none that Layout can say.
std::optional<Layout> layout_of(const memory::desc& desc, const Shape& shape);

// A primitive and the operands of its arguments: what one step of a plan keeps.
class Program {
 public:
  struct Operand {
    int argument = 0;  // oneDNN's number for it
    bool output = false;
    size_t index = 0;  // among the node's inputs or outputs
  };

  template <class Primitive>
  Program(std::in_place_type_t<Primitive>, const typename Primitive::primitive_desc& desc,
          const std::vector<Operand>& operands, double slope)
      : primitive_(Primitive(desc)), stream_(engine()), slope_(static_cast<float>(slope)) {
    for (const Operand& o : operands) {
      const memory m(desc.query_md(dnnl::query::exec_arg_md, o.argument), engine(), DNNL_MEMORY_NONE);
      arguments_.emplace(o.argument, m);
      bindings_.push_back({o, m});
    }
    scratchpad_ = memory(desc.scratchpad_desc(), engine(), DNNL_MEMORY_NONE);
    arguments_.emplace(DNNL_ARG_SCRATCHPAD, scratchpad_);
  }

  void run(const KernelArgs& args) const;

 private:
  void rectify(const Tensor& y, const memory& place) const;

  struct Binding {
    Operand operand;
    memory place;
  };
  dnnl::primitive primitive_;
  dnnl::stream stream_;
  std::unordered_map<int, memory> arguments_;
  std::vector<Binding> bindings_;
  memory scratchpad_;
  float slope_;  // of the leaky ReLU after the primitive; 1: none
};

void run(const KernelArgs& args);

// Nothing: oneDNN has only reference loops for it, or a layout that Layout cannot say. With a slope other
// than 1 the last operand, an output, becomes max(y, slope y) after the primitive: for one that cannot do it
// itself.
template <class Primitive> std::optional<Prepared> prepare(const typename Primitive::primitive_desc& desc,
                                                           const std::vector<Program::Operand>& operands,
                                                           std::span<const Spec> in,
                                                           std::span<const Spec> out, double slope = 1) {
  if (is_reference(desc)) return {};
  Layouts layouts;
  for (const Program::Operand& o : operands) {
    const memory::desc wanted = desc.query_md(dnnl::query::exec_arg_md, o.argument);
    const auto layout = layout_of(wanted, (o.output ? out : in)[o.index].shape);
    if (!layout) return {};
    (o.output ? layouts.out : layouts.in).push_back(*layout);
  }
  return Prepared{.state = std::make_shared<Program>(std::in_place_type<Primitive>, desc, operands, slope),
                  .workspace_bytes = static_cast<int64_t>(desc.scratchpad_desc().get_size()),
                  .implementation = desc.impl_info_str(),
                  .layouts = std::move(layouts)};
}

}  // namespace millrace::cpu::onednn
