// Op: the pure description of one computation. It knows its attributes, the shapes it makes, its gradient,
// its cost and its test cases; it does not compute. Kernels that do are registered per device
// (core/registry.h).
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/layout.h"
#include "core/shape.h"

namespace millrace {

class Graph;

// What is known of a value before it exists.
struct Spec {
  Shape shape;
  Dtype dtype = Dtype::f32;
  Layout
      layout{};  // set by plans, and of values in the State; infer() of an op sees dense ones and makes such

  bool operator==(const Spec&) const = default;
  // Elements in memory, with what fills up the blocks of a layout.
  int64_t elements() const { return layout.count(shape); }
  int64_t bytes() const { return elements() * size_of(dtype); }
  std::string to_string() const {
    return std::string(name_of(dtype)) + shape.to_string() + layout.to_string();
  }
};

// A handle to a value of a Graph; empty where there is none.
struct Value {
  int32_t id = -1;
  explicit operator bool() const { return id >= 0; }
  auto operator<=>(const Value&) const = default;
};

struct Cost {
  double flop = 0;   // a multiply-add counts as two
  double bytes = 0;  // what must be read and written at least once
};

// What a gradient rule is given, and gives: dL/d(input) for each wanted input, from dL/d(output).
struct GradArgs {
  Graph& graph;
  std::span<const Value> in, out;
  std::span<const Value> dout;  // empty Value: L does not depend on that output
  std::vector<bool> wanted;     // per input
};

// A licence to share storage: output `out` may lie where input `in` lies. With `offset` >= 0 elements the
// input is a part of the output and may be computed right there. The kernel works both when the memory is
// shared and when it is not.
struct Sharing {
  int out = 0;
  int in = 0;
  int64_t offset = 0;
};

// Which operands are bf16 in a plan of Precision::bf16, as far as their neighbours allow
// (core/precision_pass.h): bit k stands for operand k. Those of `in` are bf16 together or not at all; what
// has no bit stays f32.
inline constexpr uint64_t kAllOperands = ~uint64_t{0};
constexpr uint64_t operand(int k) { return uint64_t{1} << k; }
struct Bf16Operands {
  uint64_t in = 0, out = 0;
  // Where some of `in` are f32 anyway: true, they are rounded for this op; false, it computes in f32.
  bool rounds = true;
};

class Op {
 public:
  virtual ~Op() = default;
  virtual std::string_view name() const = 0;
  // "stride=2 pad=1". Two ops with equal name and attributes compute the same.
  virtual std::string attributes() const = 0;
  // What the outputs are; `real` is the type of the graph's real numbers. Throws when the inputs do not fit:
  // a bad net fails on the line that builds it.
  virtual std::vector<Spec> infer(std::span<const Spec> in, Dtype real) const = 0;
  virtual bool has_gradient() const { return true; }
  // Appends the nodes of the gradient; one Value per input, empty where it is not wanted.
  virtual std::vector<Value> grad(const GradArgs& args) const;
  virtual Cost cost(std::span<const Spec> in, std::span<const Spec> out) const;
  virtual std::vector<Sharing> sharing() const { return {}; }
  // One op that computes next(this(...)), where there is one: a convolution absorbs the activation behind it.
  // Asked after gradients() and only when nothing else reads what lies between.
  virtual std::shared_ptr<const Op> absorb(const Op& /*next*/) const { return nullptr; }
  virtual Bf16Operands bf16_operands() const { return {}; }
  // The same on bf16 operands with f32 outputs, where there is such an op.
  virtual std::shared_ptr<const Op> with_precise_output() const { return nullptr; }
  // Of an op that updates parameters: the same with one output more at the end, output 0 in the type of
  // activations. The precision pass asks for it, so that weights need not be cast in every step.
  virtual std::shared_ptr<const Op> with_copy() const { return nullptr; }
};

// --- attributes ---
// A struct of attributes lists its members once:
// template <class V> void visit(V v) const { v("stride", stride); }

struct NoAttrs {
  template <class V> void visit(V) const {}
};

namespace detail {
struct AttrPrinter {
  std::ostringstream& out;
  template <class T> void operator()(const char* key, const T& value) const {
    if (out.tellp() > 0) out << ' ';
    out << key << '=';
    if constexpr (requires { value.to_string(); })
      out << value.to_string();
    else if constexpr (std::is_convertible_v<T, std::string_view>)
      out << value;
    else if constexpr (requires {
                         value.begin();
                         value.size();
                       }) {
      for (const auto& v : value) {
        if constexpr (requires { v.to_string(); })
          out << v.to_string() << ',';
        else
          out << v << ',';
      }
    } else
      out << value;
  }
};
}  // namespace detail

// struct Warp : OpBase<Warp, WarpAttrs> { static constexpr const char* kName = "warp"; ... };
template <class Self, class Attrs = NoAttrs> struct OpBase : Op {
  Attrs attrs;

  OpBase() = default;
  explicit OpBase(Attrs a) : attrs(std::move(a)) {}
  std::string_view name() const final { return Self::kName; }
  std::string attributes() const final {
    std::ostringstream out;
    out.precision(17);
    attrs.visit(detail::AttrPrinter{out});
    return out.str();
  }
};

// --- test cases ---
// From its cases every op gets its gradient check, and its parity, repeat and reach tests
// (tests/generated).

// Draws one element of an input.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  double uniform(double low, double high) { return low + (high - low) * ((engine_() >> 11) * 0x1.0p-53); }
  int64_t integer(int64_t low, int64_t high) {  // inclusive
    return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }

 private:
  std::mt19937_64 engine_;  // its sequence is fixed by the standard
};

using Draw = std::function<double(Random&)>;

inline Draw uniform(double low, double high) {
  return [=](Random& r) { return r.uniform(low, high); };
}
// Away from 0 by at least `gap`: for inputs of functions with a bend there.
inline Draw away_from_zero(double gap, double high) {
  return [=](Random& r) { return (r.integer(0, 1) ? 1 : -1) * r.uniform(gap, high); };
}
// Integers of [low, high] plus a fraction in [gap, 1 - gap]: for coordinates whose interpolation bends at
// integers.
inline Draw between_integers(int64_t low, int64_t high, double gap) {
  return [=](Random& r) { return static_cast<double>(r.integer(low, high - 1)) + r.uniform(gap, 1 - gap); };
}

struct CaseInput {
  Shape shape;
  Draw draw = uniform(-1, 1);
  // Real inputs take the type that is tested, f64, f32 or bf16; others, such as u8, keep their own.
  Dtype dtype = Dtype::f64;
  bool precise = false;  // stays f32 where activations are bf16
};

struct Case {
  std::string name;
  std::shared_ptr<const Op> op;
  std::vector<CaseInput> in;
  bool benchmark = false;  // of real size: no gradient check
  bool fused = false;      // an op that fusion makes, after gradients: no gradient check
  double gradient_tolerance =
      0;                        // 0: the default of tests/generated; else the reason stands on the same line
  double parity_tolerance = 0;  // likewise, relative to the largest reference value
  double bf16_tolerance = 0;    // the same of kernels for bf16, whose f32 outputs are made of rounded ones
  std::vector<int> no_gradient{};  // inputs that the op declares constant
};

template <class T, class... A> std::shared_ptr<const Op> make_op(A&&... args) {
  return std::make_shared<const T>(std::forward<A>(args)...);
}

}  // namespace millrace
