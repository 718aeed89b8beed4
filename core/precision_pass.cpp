#include "core/precision_pass.h"

#include <algorithm>

#include "core/cast.h"
#include "core/flat_layout.h"
#include "core/passes.h"
#include "core/registry.h"

namespace millrace {
namespace {

bool has_operand(uint64_t operands, size_t k) {
  return operands == kAllOperands || (k < 64 && ((operands >> k) & 1) != 0);
}

// Of one node.
struct Decision {
  Bf16Operands operands;
  bool bf16 = false;             // computes on bf16 operands
  bool reads_real = false;       // some input is of real numbers
  std::shared_ptr<const Op> op;  // of the node, or the same with f32 outputs
};

class Decider {
 public:
  explicit Decider(const Graph& g) : g_(g), readers_(static_cast<size_t>(g.value_count())) {
    narrow_.resize(readers_.size());
    needed_.resize(readers_.size());
    for (size_t n = 0; n < g.nodes().size(); ++n) {
      const Node& node = g.nodes()[n];
      Decision d{.operands = node.op->bf16_operands(), .op = node.op};
      d.bf16 = d.operands.in != 0 || d.operands.out != 0;
      for (size_t k = 0; k < node.in.size(); ++k) {
        readers_[id(node.in[k])].push_back({n, k});
        d.reads_real = d.reads_real || is_real(g.spec(node.in[k]).dtype);
      }
      for (size_t k = 0; k < node.out.size(); ++k)
        narrow_[id(node.out[k])] = d.bf16 && has_operand(d.operands.out, k) && real(node.out[k]);
      decisions_.push_back(std::move(d));
    }
    for (const auto& [name, v] : g.outputs()) needed_[id(v)] = true;
    for (const Update& u : g.updates()) needed_[id(u.next)] = true;
  }

  // From all bf16 that can be to less, until nothing contradicts: each round only takes bf16 away.
  std::vector<Decision> run() {
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t v = 0; v < narrow_.size(); ++v) {
        if (!narrow_[v] || !needs_f32(v)) continue;
        narrow_[v] = false;
        changed = true;
      }
      for (size_t n = 0; n < decisions_.size(); ++n) changed = reconsider(n) || changed;
    }
    return std::move(decisions_);
  }

 private:
  static size_t id(Value v) { return static_cast<size_t>(v.id); }
  bool real(Value v) const { return g_.spec(v).dtype == Dtype::f32; }

  bool needs_f32(size_t v) const {
    return needed_[v] || std::any_of(readers_[v].begin(), readers_[v].end(), [&](const auto& reader) {
             const Decision& d = decisions_[reader.first];
             return !has_operand(d.operands.in, reader.second) || (!d.bf16 && !d.operands.rounds);
           });
  }

  // Whether the node gave up bf16.
  bool reconsider(size_t n) {
    const Node& node = g_.nodes()[n];
    Decision& d = decisions_[n];
    if (!d.bf16 || !d.reads_real) return false;
    bool stays = true;
    for (size_t k = 0; k < node.out.size() && stays; ++k) {
      if (!has_operand(d.operands.out, k) || narrow_[id(node.out[k])]) continue;
      const auto exact = node.op->with_precise_output();
      stays = exact != nullptr;
      if (exact) d.op = exact;
    }
    for (size_t k = 0; k < node.in.size() && stays && !d.operands.rounds; ++k)
      stays = !has_operand(d.operands.in, k) || !real(node.in[k]) || narrow_[id(node.in[k])];
    if (stays) return false;
    d.bf16 = false;
    d.op = node.op;
    for (Value v : node.out) narrow_[id(v)] = false;
    return true;
  }

  const Graph& g_;
  std::vector<std::vector<std::pair<size_t, size_t>>> readers_;  // node and operand, per value
  std::vector<bool> narrow_;                                     // per value: bf16
  std::vector<bool> needed_;                                     // per value: an output or update
  std::vector<Decision> decisions_;                              // per node
};

class Bf16Pass {
 public:
  Bf16Pass(const Graph& graph, bool emulates)
      : g_(graph), rewriter_(graph), emulates_(emulates), decisions_(Decider(graph).run()) {
    f32_.resize(static_cast<size_t>(graph.value_count()));
    bf16_.resize(f32_.size());
    for (int32_t v = 0; v < graph.value_count(); ++v) {
      if (graph.info(Value{v}).node < 0) f32_[static_cast<size_t>(v)] = rewriter_[Value{v}];
    }
    for (const Update& u : graph.updates()) {
      const ValueInfo& next = graph.info(u.next);
      if (is_params(u.state) && next.output == 0) copying_.push_back(next.node);
    }
  }

  Graph run() {
    for (size_t n = 0; n < g_.nodes().size(); ++n) {
      if (!in_both(n)) emit(n, decisions_[n].bf16);
    }
    std::map<std::string, Value> outputs;
    for (const auto& [name, v] : g_.outputs()) outputs[name] = get(v, false);
    std::vector<Update> updates;
    for (const Update& u : g_.updates()) {
      updates.push_back({rewriter_[u.state], get(u.next, false)});
      if (is_params(u.state) && !emulates_) updates.push_back({copy_of(u.state), next_copy(u.next)});
    }
    return rewriter_.finish(outputs, updates);
  }

 private:
  bool is_params(Value v) const {
    const ValueInfo& info = g_.info(v);
    return info.state && (info.state->buffer == kParams || info.state->buffer == kFrozen);
  }
  Value copy_of(Value params) {
    const ValueInfo& info = g_.info(params);
    const char* buffer = info.state->buffer == kFrozen ? kFrozenBf16 : kParamsBf16;
    return rewriter_.state({buffer, info.state->offset}, Spec{info.spec.shape, Dtype::bf16, info.spec.layout},
                           info.name + "/bf16");
  }
  Value next_copy(Value next) {
    const auto found = copies_.find(g_.info(next).node);
    return found != copies_.end() && g_.info(next).output == 0 ? found->second : get(next, true);
  }

  // Made where it is read, in each type that is wanted.
  bool in_both(size_t n) const {
    return decisions_[n].bf16 && !decisions_[n].reads_real && g_.nodes()[n].out.size() == 1;
  }

  // The new value for an old one, bf16 or f32.
  Value get(Value old, bool bf16) {
    std::vector<Value>& wanted = bf16 ? bf16_ : f32_;
    Value& v = wanted[static_cast<size_t>(old.id)];
    if (v) return v;
    const ValueInfo& info = g_.info(old);
    if (info.node >= 0 && in_both(static_cast<size_t>(info.node)) && !(emulates_ && bf16)) {
      emit(static_cast<size_t>(info.node), bf16);
      return v;
    }
    if (bf16 && is_params(old) && !emulates_) return v = copy_of(old);
    const Value other = get(old, !bf16);
    if (!emulates_) {
      v = rewriter_.emit(make_op<Cast>(CastAttrs{!bf16}), {other}, info.name + "/cast", Dtype::bf16).front();
    } else {
      v = bf16 ? rewriter_.emit(make_op<RoundBf16>(), {other}, info.name + "/round").front() : other;
    }
    return v;
  }

  void emit(size_t n, bool bf16) {
    const Node& node = g_.nodes()[n];
    const Decision& d = decisions_[n];
    std::vector<Value> in;
    for (size_t k = 0; k < node.in.size(); ++k) {
      const bool narrow = g_.spec(node.in[k]).dtype == Dtype::f32 && has_operand(d.operands.in, k);
      in.push_back(get(node.in[k], bf16 && narrow));
    }
    const int32_t number = static_cast<int32_t>(n);
    const bool copies = !emulates_ && std::count(copying_.begin(), copying_.end(), number) > 0;
    const auto copying = copies ? node.op->with_copy() : nullptr;
    const bool real_bf16 = !emulates_ && (bf16 || copying);
    const std::vector<Value> out = rewriter_.emit(copying     ? copying
                                                  : emulates_ ? node.op
                                                              : d.op,
                                                  in, node.name, real_bf16 ? Dtype::bf16 : Dtype::f32);
    if (copying) copies_[number] = out.back();
    const bool exact = d.op != node.op;
    for (size_t k = 0; k < node.out.size(); ++k) {
      const auto old = static_cast<size_t>(node.out[k].id);
      const bool narrow = bf16 && !exact && has_operand(d.operands.out, k);
      if (emulates_ && narrow)
        bf16_[old] = f32_[old] = rewriter_.emit(make_op<RoundBf16>(), {out[k]}, node.name + "/round").front();
      else
        (rewriter_.graph().spec(out[k]).dtype == Dtype::bf16 ? bf16_ : f32_)[old] = out[k];
    }
  }

  const Graph& g_;
  Rewriter rewriter_;
  const bool emulates_;
  std::vector<Decision> decisions_;
  std::vector<Value> f32_, bf16_;    // per old value; empty: not made
  std::vector<int32_t> copying_;     // nodes whose first output updates parameters
  std::map<int32_t, Value> copies_;  // what they give as the parameters' copy
};

}  // namespace

bool has_bf16(const std::string& device) {
  return !Registry::get().kernels("conv2d", device, Dtype::bf16).empty();
}

std::string precision_note(const std::string& device, Precision precision) {
  if (precision == Precision::bf16 && !has_bf16(device)) {
    return "precision bf16 is emulated on " + device +
           ": numbers are rounded as a GPU would, and it is slower than fp32";
  }
  const auto& kernels = Registry::get().all_kernels();
  const bool has_tf32 = std::any_of(kernels.begin(), kernels.end(),
                                    [&](const Kernel& k) { return k.tf32 && k.device == device; });
  if (precision == Precision::tf32 && !has_tf32) return "no kernel on " + device + " uses tf32: it is fp32";
  return {};
}

Graph to_bf16(const Graph& graph, const std::string& device) {
  return Bf16Pass(graph, !has_bf16(device)).run();
}

}  // namespace millrace
