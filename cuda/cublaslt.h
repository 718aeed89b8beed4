// cuBLASLt, NVIDIA's products of matrices: loaded when a program runs, so that it is not needed to build or
// to start one. Only its header is needed to compile this.
#pragma once

#include <cublasLt.h>

#include <memory>
#include <optional>
#include <string>

#include "core/dtype.h"

namespace millrace {

// Its functions, as a table that tests fill with their own. CUDA's library is one more way to fill it.
struct CublasLtApi {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtGetStatusName) status_name;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmul) matmul;
};

// Throws ErrorKind::device where there is no library of the version that this was compiled for.
CublasLtApi load_cublaslt();

// The library on the GPU that is in use.
class CublasLt {
 public:
  // Throws ErrorKind::device, for instance where there is no GPU.
  explicit CublasLt(const CublasLtApi& api);
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  const CublasLtApi& api() const { return api_; }
  cublasLtHandle_t handle() const { return handle_; }

 private:
  CublasLtApi api_;
  cublasLtHandle_t handle_ = nullptr;
};

// An array of rows side by side, as all of millrace's are; `transposed`: its transpose is multiplied.
struct LtMatrix {
  int64_t rows = 0, columns = 0;
  bool transposed = false;
};

// out = left right, and behind each sum what `bias` and `relu` say: + bias(column), then max(., 0). Operands
// are `in`, sums f32; out and the bias are `out`.
struct LtProblem {
  LtMatrix left, right;
  Dtype in = Dtype::f32, out = Dtype::f32;
  bool bias = false, relu = false;
  bool tf32 = false;  // factors are rounded to TF32
};

// Descriptions that the library keeps of a problem, in its own order.
//
// cuBLASLt's matrices are columns side by side. In the same bytes a row-major array of r rows and c columns
// is a column-major one of c rows and r columns: the transpose. So out = left right is asked for as
//   out^T = right^T left^T,
// with right as the library's A and left as its B, each transposed there if it is here, all leading
// dimensions the lengths of rows here. A column of `out` is a row of out^T, and the library's bias has one
// number per row.
class LtDescriptions {
 public:
  LtDescriptions(const CublasLtApi& api, const LtProblem& problem);  // throws ErrorKind::device

  cublasLtMatmulDesc_t product() const { return product_.get(); }
  cublasLtMatrixLayout_t a() const { return a_.get(); }
  cublasLtMatrixLayout_t b() const { return b_.get(); }
  cublasLtMatrixLayout_t out() const { return out_.get(); }
  cublasLtMatmulPreference_t preference() const { return preference_.get(); }

 private:
  template <class T> using Handle = std::unique_ptr<T, cublasStatus_t (*)(T*)>;
  Handle<cublasLtMatmulDescOpaque_t> product_;
  Handle<cublasLtMatrixLayoutOpaque_t> a_, b_, out_;
  Handle<cublasLtMatmulPreferenceOpaque_t> preference_;
};

// A problem with the library's code for it, chosen once.
class LtProduct {
 public:
  // Null where the library has none.
  static std::shared_ptr<const LtProduct> make(std::shared_ptr<const CublasLt> library,
                                               const LtProblem& problem);

  int64_t workspace_bytes() const { return workspace_bytes_; }

  struct Operands {
    const void *left, *right, *bias;
    void *out, *workspace, *stream;
  };
  // Queues it. Throws ErrorKind::device with the library's status. Not for two threads at once: the address
  // of the bias is part of the descriptions.
  void run(const Operands& o) const;

 private:
  LtProduct(std::shared_ptr<const CublasLt> library, const LtProblem& problem);

  std::shared_ptr<const CublasLt> library_;
  LtDescriptions descriptions_;
  LtProblem problem_;
  cublasLtMatmulAlgo_t algorithm_{};
  int64_t workspace_bytes_ = 0;
};

}  // namespace millrace
