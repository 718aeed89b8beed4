// norm: the Euclidean norm of a flat vector, y = sqrt(sum over k of x(k)^2).
//
// x (P) -> y (1), in full precision also of a bf16 x. Squares are summed in double in a fixed order, chunk by
// chunk, so the result is the same to the last bit for any number of threads. A NaN or an infinity anywhere
// shows in y.
#pragma once

#include "core/graph.h"
#include "core/registry.h"

namespace millrace {

struct Norm : OpBase<Norm> {
  static constexpr const char* kName = "norm";

  static constexpr int64_t kChunk = 4096;  // elements whose squares are summed by one thread
  static int64_t chunks(int64_t P) { return (P + kChunk - 1) / kChunk; }

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    if (in.size() != 1 || in[0].shape.rank() != 1 || (in[0].dtype != real && in[0].dtype != precise(real))) {
      fail(ErrorKind::runtime, {kName, "one flat vector (P) of " + std::string(name_of(real)),
                                in.empty() ? "nothing" : in[0].to_string(), ""});
    }
    return {{{1}, precise(real)}};
  }
  bool has_gradient() const override { return false; }  // it measures gradients; no loss contains it
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override {
    Cost cost = Op::cost(in, out);
    cost.flop = 2.0 * static_cast<double>(in[0].shape.count());
    return cost;
  }

  static std::vector<Case> cases() {
    return {{.name = "one", .op = make_op<Norm>(), .in = {{{1}}}},
            {.name = "odd", .op = make_op<Norm>(), .in = {{{37}}}},
            {.name = "two chunks", .op = make_op<Norm>(), .in = {{{kChunk + 5}}}},
            {.name = "several runs", .op = make_op<Norm>(), .in = {{{2 * 16384 + 7}}}},
            {.name = "benchmark", .op = make_op<Norm>(), .in = {{{int64_t{1} << 22}}}, .benchmark = true}};
  }
};

inline Value norm(Graph& g, Value x) { return g.add1(make_op<Norm>(), {x}); }

inline void register_norm(Registry& r) { r.add_op<Norm>(); }

}  // namespace millrace
