// Faults are Errors of kind device that name the kernel, the line that launched it, the block and the thread.
#pragma once

#include <string>

#include "cuda/sim/runtime.h"

namespace millrace::sim {

// While one exists, the operating system's thread runs a launch.
class Running {
 public:
  explicit Running(const Launch& launch);
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  static bool now();
};

std::string show(const dim3& d);                     // "(1,2,3)"
std::string show_line(const std::source_location&);  // "file:12"
// "kernel launched at file:12, block (0,0,0), thread (5,0,0)"
std::string running_thread();

// A fault of the running thread.
[[noreturn]] void fault(const std::string& expected, const std::string& got);
// A launch that cannot be.
[[noreturn]] void refuse(const Launch& launch, const std::string& expected, const std::string& got);

}  // namespace millrace::sim
