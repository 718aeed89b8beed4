// Fully connected layers by cuBLASLt, as versions `cublaslt` and, for plans of Precision::tf32,
// `cublaslt-tf32`.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/registry.h"
#include "cuda/cublaslt.h"
#include "cuda/linear_finish.h"

namespace millrace {

struct CublasLtBackend {
  std::string device;
  // Called when the first node asks; an Error means that there is no such library here, is logged once, and
  // other versions do the nodes.
  std::function<CublasLtApi()> load = load_cublaslt;
  LinearFinishFn finish = nullptr;
};

// One device of a program can have it: a second call takes the place of the first.
void add_linear_cublaslt(Registry& registry, CublasLtBackend backend);
// The same for kernels that are registered already.
void set_cublaslt_backend(CublasLtBackend backend);

}  // namespace millrace
