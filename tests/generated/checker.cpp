// Tests of the checker: deliberately wrong ops, each of which must be rejected, and the right one, which must
// not.
#include "core/graph.h"
#include "tests/catch.h"
#include "tests/generated/op_check.h"

namespace millrace {
namespace {

enum Fault : int {
  kNone,
  kTimesSeven,
  kSlightlyOff,
  kZero,
  kOneNan,
  kOneSign,
  kShuffled,
  kOneUnwritten,
  kOutOfBounds,
  kUnrepeatable
};

struct FaultAttrs {
  int fault = kNone;
  template <class V> void visit(V v) const { v("fault", fault); }
};

// y = x^2, dx = 2 x dy, except where the fault says.
struct SquareDx : OpBase<SquareDx, FaultAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "test_square_dx";
  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override { return {in[0]}; }
  bool has_gradient() const override { return false; }
};

struct Square : OpBase<Square, FaultAttrs> {
  using OpBase::OpBase;
  static constexpr const char* kName = "test_square";
  std::vector<Spec> infer(std::span<const Spec> in, Dtype) const override { return {in[0]}; }
  std::vector<Value> grad(const GradArgs& a) const override {
    return {a.graph.add1(make_op<SquareDx>(attrs), {a.dout[0], a.in[0]})};
  }
};

template <class T> void square(const KernelArgs& args) {
  for (int64_t k = 0; k < args.in[0].count(); ++k)
    args.out[0].as<T>()[k] = args.in[0].as<T>()[k] * args.in[0].as<T>()[k];
}

// The forward kernel of another version, with the fault in it.
template <class T> void wrong_square(const KernelArgs& args) {
  static int calls = 0;
  const int fault = args.attrs<Square>().fault;
  T* y = args.out[0].as<T>();
  const int64_t count = args.in[0].count();
  for (int64_t k = 0; k < count; ++k) {
    if (fault == kOneUnwritten && k == 2) continue;
    y[k] = args.in[0].as<T>()[k] * args.in[0].as<T>()[k];
  }
  if (fault == kTimesSeven)
    for (int64_t k = 0; k < count; ++k) y[k] *= 7;
  if (fault == kSlightlyOff)
    for (int64_t k = 0; k < count; ++k) y[k] *= T(1.0001);
  if (fault == kZero)
    for (int64_t k = 0; k < count; ++k) y[k] = 0;
  if (fault == kOneNan) y[1] = T(NAN);
  if (fault == kOneSign) y[1] = -y[1];
  if (fault == kShuffled) std::swap(y[0], y[1]);
  if (fault == kOutOfBounds) y[count] = 1;
  if (fault == kUnrepeatable) y[0] *= T(1) + T(1e-7) * static_cast<T>(calls++);
}

template <class T> void square_dx(const KernelArgs& args) {
  const int fault = args.attrs<SquareDx>().fault;
  const T* dy = args.in[0].as<T>();
  const T* x = args.in[1].as<T>();
  T* dx = args.out[0].as<T>();
  const int64_t count = args.out[0].count();
  for (int64_t k = 0; k < count; ++k) {
    if (fault == kOneUnwritten && k == 2) continue;
    dx[k] = 2 * x[k] * dy[fault == kShuffled ? (k + 1) % count : k];
    if (fault == kTimesSeven) dx[k] *= 7;
    if (fault == kSlightlyOff) dx[k] *= T(1.0001);
    if (fault == kZero) dx[k] = 0;
    if (fault == kOneNan && k == 1) dx[k] = T(NAN);
    if (fault == kOneSign && k == 1) dx[k] = -dx[k];
  }
}

Case case_of(int fault) {
  static const bool registered = [] {
    Registry& r = Registry::mutable_registry();
    add_cpu_kernel(r, Square::kName, square<float>, square<double>);
    add_cpu_kernel(r, SquareDx::kName, square_dx<float>, square_dx<double>);
    return true;
  }();
  (void)registered;
  return {.name = "fault", .op = make_op<Square>(FaultAttrs{fault}), .in = {{{3, 2}, away_from_zero(.2, 1)}}};
}

Kernel wrong_kernel() {
  return {.op = Square::kName,
          .device = "cpu",
          .version = "wrong",
          .dtype = Dtype::f32,
          .run = wrong_square<float>};
}

}  // namespace

TEST_CASE("the gradient check accepts a right gradient") { CHECK(check::gradient(case_of(kNone)).empty()); }

TEST_CASE("the gradient check rejects each wrong gradient") {
  for (int fault : {kTimesSeven, kSlightlyOff, kZero, kOneNan, kOneSign, kShuffled, kOneUnwritten}) {
    INFO("fault " << fault);
    CHECK(check::gradient(case_of(fault)).size() == 1);
  }
}

TEST_CASE("the gradient check refuses an empty comparison") {
  Case test = case_of(kNone);
  test.no_gradient = {0};
  CHECK(!check::gradient(test).empty());
  test.no_gradient = {};
  test.in[0].shape = {0, 2};
  CHECK(!check::gradient(test).empty());
}

TEST_CASE("the parity check accepts a right kernel") {
  bool ran = false;
  CHECK(check::parity(case_of(kNone), wrong_kernel(), ran).empty());
  CHECK(ran);
}

TEST_CASE("the parity check rejects each wrong kernel") {
  for (int fault : {kTimesSeven, kSlightlyOff, kZero, kOneNan, kOneSign, kShuffled, kOneUnwritten,
                    kOutOfBounds, kUnrepeatable}) {
    INFO("fault " << fault);
    bool ran = false;
    CHECK(!check::parity(case_of(fault), wrong_kernel(), ran).empty());
  }
}

TEST_CASE("a kernel that says it is not repeatable may differ between runs, but not be wrong") {
  Kernel kernel = wrong_kernel();
  kernel.repeatable = false;
  bool ran = false;
  CHECK(check::parity(case_of(kUnrepeatable), kernel, ran).empty());
  CHECK(!check::parity(case_of(kSlightlyOff), kernel, ran).empty());
}

}  // namespace millrace
