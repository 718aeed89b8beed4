// Faults are Errors of kind device that name the kernel, the line that launched it, the block and the thread.
#pragma once

#include <string>

#include "cuda/sim/runtime.h"

namespace millrace::sim {

std::string show(const dim3& d);                     // "(1,2,3)"
std::string show_line(const std::source_location&);  // "file:12"

// A fault of the running thread; call while a kernel runs.
[[noreturn]] void fault(const std::string& expected, const std::string& got);
// A launch that cannot be.
[[noreturn]] void refuse(const Launch& launch, const std::string& expected, const std::string& got);

}  // namespace millrace::sim
