#include "cuda/linear_cublaslt.h"

#include "core/log.h"
#include "layers/linear.h"

namespace millrace {
namespace {

using Specs = std::span<const Spec>;

struct Backend {
  CublasLtBackend given;
  std::shared_ptr<const CublasLt> library;
  bool tried = false;
};
Backend& backend() {
  static Backend b;
  return b;
}

// Null where there is none. A library belongs to the GPU that is in use when it is asked for first.
std::shared_ptr<const CublasLt> library() {
  Backend& b = backend();
  if (b.tried) return b.library;
  b.tried = true;
  try {
    b.library = std::make_shared<const CublasLt>(b.given.load());
  } catch (const Error& e) {
    log().info("fully connected layers use millrace's own kernels, for cuBLASLt cannot be used: " +
               std::string(e.what()));
  }
  return b.library;
}

// What a node keeps.
struct Program {
  std::shared_ptr<const LtProduct> product;
  LinearFinishFn finish = nullptr;  // where the library's epilogues do not fit
  bool sums_in_workspace = false;   // before the library's own scratch memory, and f32; else they are y
  int64_t sums_bytes = 0;
};

std::optional<Prepared> prepared(Program program) {
  if (!program.product) return {};
  program.sums_bytes = align_up(program.sums_bytes);
  const int64_t bytes = program.sums_bytes + program.product->workspace_bytes();
  return Prepared{.state = std::make_shared<const Program>(std::move(program)), .workspace_bytes = bytes};
}

std::shared_ptr<const LtProduct> product_of(const LtProblem& problem) {
  const auto found = library();
  return found ? LtProduct::make(found, problem) : nullptr;
}

// The library's bias has the type of y, so that of a bf16 y would be rounded; and its ReLU has slope 0. Else
// the sums are left as f32, and finished by a kernel of our own: 8 bytes more for each of the N O results,
// beside O K weights.
template <bool tf32> std::optional<Prepared> prepare_linear(const Op& op, Specs in, Specs out) {
  const LinearAttrs& a = static_cast<const Linear&>(op).attrs;
  const auto [N, O, K] = linear_sizes(in[0], in[1]);
  const bool bias = in.size() == 3, f32 = out[0].dtype == Dtype::f32;
  const bool fits = (a.negative_slope == 1 || a.negative_slope == 0) && (!bias || f32);
  Program program;
  program.product = product_of({.left = {N, K},
                                .right = {O, K, true},
                                .in = in[0].dtype,
                                .out = fits ? out[0].dtype : Dtype::f32,
                                .bias = fits && bias,
                                .relu = fits && a.negative_slope == 0,
                                .tf32 = tf32});
  if (!fits) {
    program.finish = backend().given.finish;
    program.sums_in_workspace = !f32;
    program.sums_bytes = f32 ? 0 : N * O * size_of(Dtype::f32);
  }
  return prepared(std::move(program));
}

void run_linear(const KernelArgs& args) {
  const auto& program = *static_cast<const Program*>(args.prepared);
  auto* workspace = static_cast<char*>(args.workspace);
  const float* bias = args.in.size() == 3 ? args.in[2].as<const float>() : nullptr;
  void* sums = program.sums_in_workspace ? workspace : args.out[0].data;
  program.product->run({.left = args.in[0].data,
                        .right = args.in[1].data,
                        .bias = bias,
                        .out = sums,
                        .workspace = workspace + program.sums_bytes,
                        .stream = args.stream});
  if (!program.finish) return;
  program.finish({.sums = static_cast<const float*>(sums),
                  .bias = bias,
                  .negative_slope = args.attrs<Linear>().negative_slope,
                  .y = args.out[0],
                  .stream = args.stream});
}

template <bool tf32> std::optional<Prepared> prepare_dx(const Op&, Specs in, Specs out) {
  const auto [N, O, K] = linear_sizes(out[0], in[1]);
  return prepared(
      {.product = product_of(
           {.left = {N, O}, .right = {O, K}, .in = in[0].dtype, .out = out[0].dtype, .tf32 = tf32})});
}

template <bool tf32> std::optional<Prepared> prepare_dw(const Op&, Specs in, Specs out) {
  const auto [N, O, K] = linear_sizes(in[0], out[0]);
  return prepared(
      {.product = product_of(
           {.left = {N, O, true}, .right = {N, K}, .in = in[0].dtype, .out = Dtype::f32, .tf32 = tf32})});
}

// out = left right, of operands kLeft and kRight of the node.
template <int kLeft, int kRight> void run_product(const KernelArgs& args) {
  static_cast<const Program*>(args.prepared)
      ->product->run({.left = args.in[kLeft].data,
                      .right = args.in[kRight].data,
                      .bias = nullptr,
                      .out = args.out[0].data,
                      .workspace = args.workspace,
                      .stream = args.stream});
}

}  // namespace

void set_cublaslt_backend(CublasLtBackend given) {
  backend() = {.given = std::move(given), .library = nullptr};
}

void add_linear_cublaslt(Registry& registry, CublasLtBackend given) {
  const std::string device = given.device;
  set_cublaslt_backend(std::move(given));
  const auto add = [&](const char* op, KernelFn run, PrepareFn prepare, PrepareFn prepare_tf32) {
    Kernel kernel{.op = op, .device = device, .version = "cublaslt", .run = run, .prepare = prepare};
    kernel.preference = 100;  // before all of our own
    registry.add_kernel(kernel);
    kernel.dtype = Dtype::bf16;
    registry.add_kernel(kernel);
    kernel.dtype = Dtype::f32;
    kernel.version = "cublaslt-tf32";
    kernel.prepare = prepare_tf32;
    kernel.preference = 101;
    kernel.tf32 = true;
    kernel.rounding = 3e-3;  // sums of factors of 10 bits
    registry.add_kernel(kernel);
  };
  add(Linear::kName, run_linear, prepare_linear<false>, prepare_linear<true>);
  add(LinearDx::kName, run_product<0, 1>, prepare_dx<false>, prepare_dx<true>);
  add(LinearDw::kName, run_product<1, 0>, prepare_dw<false>, prepare_dw<true>);
}

}  // namespace millrace
