// What the simulated driver answers: CUDA's codes with CUDA's names and words.
#pragma once

#include <string>

#include "cuda/driver.h"

namespace millrace::sim {

// Unknown ones are cudaErrorUnknown.
CudaStatus status_of(int code);
CudaStatus status_named(const std::string& name);
// The context is gone after these.
bool ends_context(int code);

}  // namespace millrace::sim
