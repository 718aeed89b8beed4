#include "cuda/cublaslt.h"

#include "core/error.h"
#include "cuda/shared_library.h"

namespace millrace {
namespace {

#define MILLRACE_TEXT_OF(x) #x
#define MILLRACE_TEXT(x) MILLRACE_TEXT_OF(x)
constexpr const char* kFile = "libcublasLt.so." MILLRACE_TEXT(CUBLAS_VER_MAJOR);

// All products of a step share this scratch memory of the arena; 32 MiB is what NVIDIA advises for sm_90.
constexpr uint64_t kMostWorkspace = 32 << 20;
// Parameters begin at multiples of 64 elements, of which bf16 copies have 128 bytes.
constexpr uint32_t kLeastAlignment = 128;

std::string text_of(const CublasLtApi& api, cublasStatus_t status) {
  return std::string(api.status_name(status)) + " (" + std::to_string(static_cast<int>(status)) + ")";
}

void check(const CublasLtApi& api, cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail(ErrorKind::device, {"cuBLASLt", std::string(call) + " to succeed", text_of(api, status), ""});
}

cudaDataType_t type_of(Dtype dtype) { return dtype == Dtype::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// r rows side by side in memory: for the library columns.
cublasLtMatrixLayout_t layout_of(const CublasLtApi& api, int64_t rows, int64_t columns, Dtype dtype) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(api,
        api.layout_create(&layout, type_of(dtype), static_cast<uint64_t>(columns),
                          static_cast<uint64_t>(rows), columns),
        "cublasLtMatrixLayoutCreate");
  return layout;
}

cublasLtMatmulDesc_t product_of(const CublasLtApi& api, bool tf32) {
  cublasLtMatmulDesc_t product = nullptr;
  const auto compute = tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  check(api, api.desc_create(&product, compute, CUDA_R_32F), "cublasLtMatmulDescCreate");
  return product;
}

cublasLtMatmulPreference_t preference_of(const CublasLtApi& api) {
  cublasLtMatmulPreference_t preference = nullptr;
  check(api, api.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  return preference;
}

int64_t rows_of(const LtMatrix& m) { return m.transposed ? m.columns : m.rows; }
int64_t columns_of(const LtMatrix& m) { return m.transposed ? m.rows : m.columns; }

}  // namespace

CublasLtApi load_cublaslt() {
  static const SharedLibrary library(
      {.file = kFile, .variable = "MILLRACE_CUBLASLT_LIB", .wheel = "nvidia/cu13/lib"});
  CublasLtApi api{};
  library.load(api.create, "cublasLtCreate");
  library.load(api.destroy, "cublasLtDestroy");
  library.load(api.status_name, "cublasLtGetStatusName");
  library.load(api.desc_create, "cublasLtMatmulDescCreate");
  library.load(api.desc_destroy, "cublasLtMatmulDescDestroy");
  library.load(api.desc_set, "cublasLtMatmulDescSetAttribute");
  library.load(api.layout_create, "cublasLtMatrixLayoutCreate");
  library.load(api.layout_destroy, "cublasLtMatrixLayoutDestroy");
  library.load(api.preference_create, "cublasLtMatmulPreferenceCreate");
  library.load(api.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  library.load(api.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  library.load(api.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  library.load(api.matmul, "cublasLtMatmul");
  return api;
}

CublasLt::CublasLt(const CublasLtApi& api) : api_(api) {
  check(api_, api_.create(&handle_), "cublasLtCreate");
}
CublasLt::~CublasLt() { api_.destroy(handle_); }

LtDescriptions::LtDescriptions(const CublasLtApi& api, const LtProblem& p)
    : product_(product_of(api, p.tf32), api.desc_destroy),
      a_(layout_of(api, p.right.rows, p.right.columns, p.in), api.layout_destroy),
      b_(layout_of(api, p.left.rows, p.left.columns, p.in), api.layout_destroy),
      out_(layout_of(api, rows_of(p.left), columns_of(p.right), p.out), api.layout_destroy),
      preference_(preference_of(api), api.preference_destroy) {
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, auto value) {
    check(api, api.desc_set(product_.get(), attribute, &value, sizeof value),
          "cublasLtMatmulDescSetAttribute");
  };
  const auto operation = [](const LtMatrix& m) { return m.transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
  set(CUBLASLT_MATMUL_DESC_TRANSA, operation(p.right));
  set(CUBLASLT_MATMUL_DESC_TRANSB, operation(p.left));
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, p.bias ? (p.relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS)
                                            : (p.relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT));
  if (p.bias) {
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(type_of(p.out)));
    // The heuristic reads the address's alignment only; run() sets the true one.
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, reinterpret_cast<const void*>(uintptr_t{kLeastAlignment}));
  }
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check(api, api.preference_set(preference_.get(), attribute, &value, sizeof value),
          "cublasLtMatmulPreferenceSetAttribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
  // Where a sum is cut, its parts are added in f32, never in bf16.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  for (const auto alignment :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    prefer(alignment, kLeastAlignment);
}

LtProduct::LtProduct(std::shared_ptr<const CublasLt> library, const LtProblem& problem)
    : library_(std::move(library)), descriptions_(library_->api(), problem), problem_(problem) {}

std::shared_ptr<const LtProduct> LtProduct::make(std::shared_ptr<const CublasLt> library,
                                                 const LtProblem& problem) {
  std::shared_ptr<LtProduct> product(new LtProduct(std::move(library), problem));
  const LtDescriptions& d = product->descriptions_;
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  const cublasStatus_t status =
      product->library_->api().heuristic(product->library_->handle(), d.product(), d.a(), d.b(), d.out(),
                                         d.out(), d.preference(), 1, &best, &found);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0 || best.state != CUBLAS_STATUS_SUCCESS) return nullptr;
  product->algorithm_ = best.algo;
  product->workspace_bytes_ = static_cast<int64_t>(best.workspaceSize);
  return product;
}

void LtProduct::run(const Operands& o) const {
  const CublasLtApi& api = library_->api();
  const LtDescriptions& d = descriptions_;
  if (problem_.bias) {
    check(api, api.desc_set(d.product(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, &o.bias, sizeof o.bias),
          "cublasLtMatmulDescSetAttribute");
  }
  const float one = 1, zero = 0;
  check(api,
        api.matmul(library_->handle(), d.product(), &one, o.right, d.a(), o.left, d.b(), &zero, o.out,
                   d.out(), o.out, d.out(), &algorithm_, o.workspace, static_cast<size_t>(workspace_bytes_),
                   static_cast<cudaStream_t>(o.stream)),
        "cublasLtMatmul");
}

}  // namespace millrace
