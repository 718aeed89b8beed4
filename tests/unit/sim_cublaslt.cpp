// Fully connected layers by cuBLASLt, without a GPU: a library that does what cuBLASLt's documentation says,
// column by column on the CPU, stands behind the same table of functions. What is asked of it (transposes,
// leading dimensions, types, epilogues) must give the numbers of the plain kernels.
#include <cstring>
#include <map>
#include <set>

#include "core/plan.h"
#include "core/session.h"
#include "cuda/linear_cublaslt.h"
#include "cuda/register.h"
#include "cuda/sim/driver_sim.h"
#include "layers/leaky_relu.h"
#include "layers/linear.h"
#include "tests/catch.h"
#include "tests/generated/op_check.h"
#include "tests/unit/message_of.h"

namespace millrace {
namespace {

using test::message_of;

// --- the library

struct Layout2 {
  cudaDataType type;
  uint64_t rows, columns;
  int64_t ld;
};
struct Product {
  cublasComputeType_t compute;
  cudaDataType scale;
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  int32_t bias_type = -1;
};
struct Preference {
  uint64_t workspace = 0;
  uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
};

struct Fake {
  std::map<std::string, cublasStatus_t> faults;  // call -> what it returns
  int results = 1;                               // of a heuristic
  std::map<std::string, int> calls;
  std::set<void*> alive;
  std::vector<Product> products;  // that were multiplied
  Preference preference;          // of the last heuristic

  cublasStatus_t enter(const std::string& call) {
    ++calls[call];
    const auto fault = faults.find(call);
    return fault == faults.end() ? CUBLAS_STATUS_SUCCESS : fault->second;
  }
};
Fake fake;
constexpr uint64_t kAlgorithm = 77, kWorkspace = 4096;

template <class T, class Handle> cublasStatus_t make(const char* call, Handle* handle, const T& value) {
  if (const cublasStatus_t status = fake.enter(call)) return status;
  auto* made = new T(value);
  fake.alive.insert(made);
  *handle = reinterpret_cast<Handle>(made);
  return CUBLAS_STATUS_SUCCESS;
}
template <class T, class Handle> cublasStatus_t destroy(Handle handle) {
  if (fake.alive.erase(handle) != 1) return CUBLAS_STATUS_INVALID_VALUE;
  delete reinterpret_cast<T*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
template <class T> cublasStatus_t store(T& to, const void* from, size_t bytes) {
  if (bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t set_product(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                           const void* from, size_t bytes) {
  if (const cublasStatus_t status = fake.enter("desc_set")) return status;
  auto& p = *reinterpret_cast<Product*>(desc);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return store(p.a, from, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return store(p.b, from, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return store(p.epilogue, from, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return store(p.bias, from, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return store(p.bias_type, from, bytes);
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t set_preference(cublasLtMatmulPreference_t preference,
                              cublasLtMatmulPreferenceAttributes_t attribute, const void* from,
                              size_t bytes) {
  auto& p = *reinterpret_cast<Preference*>(preference);
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) return store(p.workspace, from, bytes);
  if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) return store(p.reductions, from, bytes);
  return bytes == sizeof(uint32_t) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

// An element of a matrix in memory: columns side by side, ld elements from one to the next.
float element(const void* data, const Layout2& l, cublasOperation_t op, uint64_t row, uint64_t column) {
  if (op == CUBLAS_OP_T) std::swap(row, column);
  const size_t at = row + column * static_cast<size_t>(l.ld);
  return l.type == CUDA_R_16BF ? to_float(static_cast<const Bf16*>(data)[at])
                               : static_cast<const float*>(data)[at];
}

// What the library's documentation demands of the three shapes and of types; true: they fit.
bool fits(const Product& p, const Layout2& a, const Layout2& b, const Layout2& d) {
  const auto rows = [](const Layout2& l, cublasOperation_t op) {
    return op == CUBLAS_OP_T ? l.columns : l.rows;
  };
  const auto columns = [](const Layout2& l, cublasOperation_t op) {
    return op == CUBLAS_OP_T ? l.rows : l.columns;
  };
  const bool lds = a.ld >= static_cast<int64_t>(a.rows) && b.ld >= static_cast<int64_t>(b.rows) &&
                   d.ld >= static_cast<int64_t>(d.rows);
  const bool has_bias = p.epilogue & CUBLASLT_EPILOGUE_BIAS;
  return lds && rows(a, p.a) == d.rows && columns(b, p.b) == d.columns && columns(a, p.a) == rows(b, p.b) &&
         a.type == b.type && (d.type == a.type || d.type == CUDA_R_32F) && p.scale == CUDA_R_32F &&
         (!has_bias || p.bias_type == -1 || p.bias_type == static_cast<int32_t>(d.type));
}

cublasStatus_t heuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                         cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                         cublasLtMatmulPreference_t preference, int wanted,
                         cublasLtMatmulHeuristicResult_t* results, int* found) {
  if (const cublasStatus_t status = fake.enter("heuristic")) return status;
  const auto of = [](cublasLtMatrixLayout_t l) { return *reinterpret_cast<Layout2*>(l); };
  if (!fits(*reinterpret_cast<Product*>(desc), of(a), of(b), of(d))) return CUBLAS_STATUS_INVALID_VALUE;
  fake.preference = *reinterpret_cast<Preference*>(preference);
  *found = std::min(wanted, fake.results);
  if (*found == 0) return CUBLAS_STATUS_SUCCESS;
  results[0].algo.data[0] = kAlgorithm;
  results[0].workspaceSize = kWorkspace;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  return CUBLAS_STATUS_SUCCESS;
}

struct Call {
  Product p;
  const void *A, *B;
  void* D;
  Layout2 a, b, d;
  void* workspace;
};

void multiply(const Call& c) {
  std::memset(c.workspace, 0x7f, kWorkspace);
  const uint64_t terms = c.p.a == CUBLAS_OP_T ? c.a.rows : c.a.columns;
  for (uint64_t j = 0; j < c.d.columns; ++j) {
    for (uint64_t i = 0; i < c.d.rows; ++i) {
      float sum = 0;
      for (uint64_t k = 0; k < terms; ++k)
        sum += element(c.A, c.a, c.p.a, i, k) * element(c.B, c.b, c.p.b, k, j);
      if (c.p.epilogue & CUBLASLT_EPILOGUE_BIAS) sum += element(c.p.bias, c.d, CUBLAS_OP_N, i, 0);
      if (c.p.epilogue & CUBLASLT_EPILOGUE_RELU) sum = sum > 0 ? sum : 0;
      const size_t at = i + j * static_cast<size_t>(c.d.ld);
      if (c.d.type == CUDA_R_16BF)
        static_cast<Bf16*>(c.D)[at] = round_to_bf16(sum);
      else
        static_cast<float*>(c.D)[at] = sum;
    }
  }
}

cublasStatus_t matmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void* alpha, const void* A,
                      cublasLtMatrixLayout_t a, const void* B, cublasLtMatrixLayout_t b, const void* beta,
                      const void*, cublasLtMatrixLayout_t, void* D, cublasLtMatrixLayout_t d,
                      const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t workspace_bytes,
                      cudaStream_t stream) {
  if (const cublasStatus_t status = fake.enter("matmul")) return status;
  const auto of = [](cublasLtMatrixLayout_t l) { return *reinterpret_cast<Layout2*>(l); };
  const Call call{*reinterpret_cast<Product*>(desc), A, B, D, of(a), of(b), of(d), workspace};
  if (!fits(call.p, call.a, call.b, call.d) || *static_cast<const float*>(alpha) != 1 ||
      *static_cast<const float*>(beta) != 0 || !algorithm || algorithm->data[0] != kAlgorithm ||
      workspace_bytes != kWorkspace)
    return CUBLAS_STATUS_INVALID_VALUE;
  fake.products.push_back(call.p);
  sim::SimDriver::run_on(stream, [call] { multiply(call); });
  return CUBLAS_STATUS_SUCCESS;
}

const char* name_of_status(cublasStatus_t status) {
  return status == CUBLAS_STATUS_EXECUTION_FAILED ? "CUBLAS_STATUS_EXECUTION_FAILED" : "CUBLAS_STATUS_OTHER";
}

CublasLtApi fake_api() {
  return {.create = [](cublasLtHandle_t* h) { return make("create", h, int{0}); },
          .destroy = [](cublasLtHandle_t h) { return destroy<int>(h); },
          .status_name = name_of_status,
          .desc_create =
              [](cublasLtMatmulDesc_t* d, cublasComputeType_t compute, cudaDataType scale) {
                return make("desc_create", d, Product{compute, scale});
              },
          .desc_destroy = [](cublasLtMatmulDesc_t d) { return destroy<Product>(d); },
          .desc_set = set_product,
          .layout_create =
              [](cublasLtMatrixLayout_t* l, cudaDataType type, uint64_t rows, uint64_t columns, int64_t ld) {
                return make("layout_create", l, Layout2{type, rows, columns, ld});
              },
          .layout_destroy = [](cublasLtMatrixLayout_t l) { return destroy<Layout2>(l); },
          .preference_create =
              [](cublasLtMatmulPreference_t* p) { return make("preference_create", p, Preference{}); },
          .preference_destroy = [](cublasLtMatmulPreference_t p) { return destroy<Preference>(p); },
          .preference_set = set_preference,
          .heuristic = heuristic,
          .matmul = matmul};
}

// --- its use

const CublasLtBackend kBackend{.device = "cuda-sim", .load = fake_api, .finish = cuda_sim::linear_finish};

// A new library for the simulated device, without faults.
void begin() {
  static const bool registered = [] {
    cuda_sim::register_backend(Registry::mutable_registry());
    add_linear_cublaslt(Registry::mutable_registry(), kBackend);
    return true;
  }();
  (void)registered;
  set_cublaslt_backend(kBackend);  // destroys what the library made before
  CHECK(fake.alive.empty());
  fake = {};
}

const Kernel& kernel(const std::string& op, const std::string& version, Dtype dtype) {
  for (const Kernel* k : Registry::get().kernels(op, "cuda-sim", dtype)) {
    if (k->version == version) return *k;
  }
  FAIL("no kernel " << op << " " << version);
  std::abort();
}

// x (3,16) through a layer of 24 with bias and leaky ReLU; the node's name is "head/linear".
Graph layer(double slope) {
  Graph g(Dtype::f32);
  const auto in = [&](const char* name, Shape shape) { return g.input(name, shape); };
  const Value x = in("x", {3, 16}), w = in("w", {24, 16}), b = in("b", {24});
  const Graph::Scope scope(g, "head");
  const Value y = linear(g, x, w, b);
  g.output("y", slope == 1 ? y : leaky_relu(g, y, {slope}));
  return g;
}

struct Ran {
  Product product;
  std::vector<double> y;
};
Ran run(const Graph& g, const PlanOptions& options) {
  fake.products.clear();
  const auto device = make_device(options.device);
  State state(*device);
  Session session(make_plan(g, options), state);
  for (const auto& [name, spec] : {std::pair{"x", 48}, {"w", 384}, {"b", 24}}) {
    std::vector<float> values(static_cast<size_t>(spec));
    for (size_t k = 0; k < values.size(); ++k) values[k] = static_cast<float>((k * 37) % 19) / 9 - 1;
    session.set(name, values);
  }
  session.run();
  Ran ran{{}, session.get("y")};
  if (!fake.products.empty()) ran.product = fake.products.back();
  return ran;
}
std::string version_of(const Graph& g, const PlanOptions& options) {
  return make_plan(g, options).steps.back().kernel->version;
}

}  // namespace

TEST_CASE("what cuBLASLt is asked for gives the numbers of the plain kernels") {
  begin();
  int64_t compared = 0;
  for (const auto& entry : Registry::get().ops()) {
    if (entry.family != "linear" || entry.name == LinearDb::kName) continue;
    for (const auto& [version, dtype] :
         {std::pair{"cublaslt", Dtype::f32}, {"cublaslt-tf32", Dtype::f32}, {"cublaslt", Dtype::bf16}}) {
      for (const Case& test : entry.cases()) {
        if (test.benchmark) continue;
        bool ran = false;
        for (const std::string& complaint : check::parity(test, kernel(entry.name, version, dtype), ran))
          FAIL_CHECK(complaint);
        CHECK(ran);
        ++compared;
      }
    }
  }
  CHECK(compared > 60);
  CHECK(fake.preference.workspace == 32 << 20);
  CHECK(fake.preference.reductions == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
  CHECK(fake.calls["create"] == 1);
}

TEST_CASE("bias and ReLU are cuBLASLt's where it has them, and rounding is what the plan's precision says") {
  begin();
  const PlanOptions sim{.device = "cuda-sim"};
  const std::vector<std::pair<double, cublasLtEpilogue_t>> expected{
      {1, CUBLASLT_EPILOGUE_BIAS}, {0, CUBLASLT_EPILOGUE_RELU_BIAS}, {.1, CUBLASLT_EPILOGUE_DEFAULT}};
  for (const auto& [slope, epilogue] : expected) {
    INFO("slope " << slope);
    const Graph g = layer(slope);
    CHECK(make_plan(g, sim).steps.size() == 1);
    const Ran ran = run(g, sim), truth = run(g, {});
    CHECK(ran.product.epilogue == epilogue);
    CHECK(ran.product.compute == CUBLAS_COMPUTE_32F);
    for (size_t k = 0; k < truth.y.size(); ++k) CHECK(ran.y[k] == Approx(truth.y[k]).margin(1e-5));
  }
  const PlanOptions tf32{.device = "cuda-sim", .precision = Precision::tf32};
  CHECK(version_of(layer(1), tf32) == "cublaslt-tf32");
  CHECK(run(layer(1), tf32).product.compute == CUBLAS_COMPUTE_32F_FAST_TF32);
  CHECK(version_of(layer(1), sim) == "cublaslt");
}

TEST_CASE("without cuBLASLt, or without its code for a node, own kernels do it") {
  const PlanOptions sim{.device = "cuda-sim"};
  for (const char* call : {"create", "heuristic"}) {
    begin();
    fake.faults[call] = CUBLAS_STATUS_NOT_INITIALIZED;
    INFO(call);
    CHECK(version_of(layer(0), sim).find("cublaslt") == std::string::npos);
    CHECK(version_of(layer(1), sim).find("cublaslt") == std::string::npos);
    CHECK(fake.calls["create"] == 1);  // not asked again, and said once
    CHECK(run(layer(0), sim).y.size() == 72);
  }
  begin();
  fake.results = 0;
  CHECK(version_of(layer(0), sim).find("cublaslt") == std::string::npos);

  auto missing = kBackend;
  missing.load = []() -> CublasLtApi { fail(ErrorKind::device, {"libcublasLt", "a library", "none", ""}); };
  set_cublaslt_backend(missing);
  CHECK(version_of(layer(0), sim).find("cublaslt") == std::string::npos);
}

TEST_CASE("a status of cuBLASLt ends as an error that names it, and leaves nothing behind") {
  for (const char* call : {"desc_create", "desc_set", "layout_create", "preference_create"}) {
    begin();
    fake.faults[call] = CUBLAS_STATUS_ALLOC_FAILED;
    INFO(call);
    CHECK(message_of([] { make_plan(layer(0), {.device = "cuda-sim"}); }).find("CUBLAS_STATUS") !=
          std::string::npos);
  }
  begin();
  fake.faults["matmul"] = CUBLAS_STATUS_EXECUTION_FAILED;
  const std::string message = message_of([] { run(layer(0), {.device = "cuda-sim"}); });
  INFO(message);
  CHECK(message.find("CUBLAS_STATUS_EXECUTION_FAILED") != std::string::npos);
  CHECK(message.find("head/linear") != std::string::npos);
  set_cublaslt_backend(kBackend);
  CHECK(fake.alive.empty());
}

TEST_CASE("NVIDIA's library takes the descriptions") {
  std::optional<CublasLtApi> api;
  try {
    api = load_cublaslt();
  } catch (const Error& e) {
    WARN("skipped: " << e.what());
    return;
  }
  for (const Dtype in : {Dtype::f32, Dtype::bf16}) {
    for (const bool relu : {false, true}) {
      CHECK_NOTHROW(LtDescriptions(*api, {.left = {3, 16},
                                          .right = {24, 16, true},
                                          .in = in,
                                          .out = Dtype::f32,
                                          .bias = true,
                                          .relu = relu,
                                          .tf32 = in == Dtype::f32}));
    }
  }
  CHECK_NOTHROW(LtDescriptions(*api, {.left = {3, 24, true}, .right = {3, 16}}));
}

}  // namespace millrace
