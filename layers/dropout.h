// Dropout (Srivastava et al. 2014), inverted as in Caffe: what is kept is scaled up while training, and at
// test time the net is built without this op.
//
//   y(k) = x(k) m(k) / (1 - ratio),   m(k) = 1 where u(k) >= ratio 2^32, else 0
//
// x and y of any shape; k counts its elements in their order. u(k) is word k mod 4 of the block (core/rng.h)
// of the named stream at `at` (2) = {seed, step} and index floor(k / 4): the mask depends on nothing else,
// not on type, device, kernel or layout, and one block of random words serves four elements. `at` is an
// input, so that a recorded step draws new masks. The op is linear, so dx is the same op on dy: the mask is
// computed again and never stored. Two ops of one stream draw one mask: each layer names its own. m is a
// factor: what is not a number stays visible where it is dropped.
#pragma once

#include <cmath>

#include "core/graph.h"
#include "core/hd.h"
#include "core/registry.h"
#include "core/rng.h"

namespace millrace {

struct DropoutAttrs {
  double ratio = .5;   // of elements dropped
  std::string stream;  // the layer's name

  template <class V> void visit(V v) const {
    v("ratio", ratio);
    v("stream", stream);
  }
};

// The factors of elements: the formula of all kernels.
template <class T> struct DropoutFactor {
  static constexpr int kGroup = 4;  // elements of one block
  uint64_t stream;                  // hash of its name
  uint32_t threshold;               // words below it drop
  T scale;

  explicit DropoutFactor(const DropoutAttrs& a)
      : stream(hash_name(a.stream)),
        threshold(static_cast<uint32_t>(std::min(std::ceil(a.ratio * 0x1p32), 0x1p32 - 1))),
        scale(static_cast<T>(1 / (1 - a.ratio))) {}

  // The words of elements 4 group to 4 group + 3. `at` is the op's input.
  MILLRACE_HD PhiloxBlock words(const int64_t* at, int64_t group) const {
    const RandomStream numbers{static_cast<uint64_t>(at[0]), stream};
    return numbers.block({.step = at[1], .index = group});
  }
  MILLRACE_HD T of(uint32_t word) const { return word >= threshold ? scale : T(0); }

  // Of one element. Chosen and not indexed: a GPU's registers have no index.
  MILLRACE_HD T operator()(const int64_t* at, int64_t k) const {
    const PhiloxBlock b = words(at, k / kGroup);
    const uint32_t even = k & 2 ? b.word[2] : b.word[0], odd = k & 2 ? b.word[3] : b.word[1];
    return of(k & 1 ? odd : even);
  }
};

struct Dropout : OpBase<Dropout, DropoutAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "dropout";  // (x, at) -> y

  std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const override {
    if (!(attrs.ratio >= 0 && attrs.ratio < 1) || attrs.stream.empty())
      fail(ErrorKind::runtime, {kName, "a ratio of 0 or more and below 1, and a stream", attributes(), ""});
    const Spec at{{2}, Dtype::i64};
    if (in.size() != 2 || in[0].dtype != real || !(in[1] == at))
      fail(ErrorKind::runtime,
           {kName, "x of " + std::string(name_of(real)) + " and " + at.to_string(),
            in.empty() ? "nothing" : in[0].to_string() + " and " + in.back().to_string(), ""});
    return {in[0]};
  }
  Bf16Operands bf16_operands() const override { return {.in = operand(0), .out = operand(0)}; }
  std::vector<Value> grad(const GradArgs& a) const override {
    return {a.graph.add1(make_op<Dropout>(attrs), {a.dout[0], a.in[1]}), Value{}};
  }
  Cost cost(std::span<const Spec> in, std::span<const Spec> out) const override {
    Cost cost = Op::cost(in, out);
    cost.flop = static_cast<double>(out[0].shape.count());
    return cost;
  }
  std::vector<Sharing> sharing() const override { return {{.out = 0, .in = 0}}; }

  static std::vector<Case> cases() {
    auto of = [](const char* name, double ratio, Shape shape, bool benchmark = false) {
      const Draw number = [](Random& r) { return static_cast<double>(r.integer(0, 1000)); };
      return Case{.name = name,
                  .op = make_op<Dropout>(DropoutAttrs{ratio, "fc6"}),
                  .in = {{shape}, {{2}, number, Dtype::i64}},
                  .benchmark = benchmark};
    };
    return {of("small", .5, {2, 3, 2, 5}),          of("one", .25, {1}),
            of("nothing is dropped", 0, {3, 7}),    of("most is dropped", .9, {2, 64}),
            of("vectors and a rest", .8, {9, 911}), of("benchmark", .9, {64, 4096}, true)};
  }
};

// `at` (2), i64: {seed, step}.
inline Value dropout(Graph& g, Value x, Value at, DropoutAttrs attrs) {
  return g.add1(make_op<Dropout>(std::move(attrs)), {x, at});
}

inline void register_dropout(Registry& r) { r.add_op<Dropout>(); }

}  // namespace millrace
