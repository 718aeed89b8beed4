// Where and how a program computes: the options that all programs with a network have.
#pragma once

#include <cstdint>
#include <string>

#include "apps/support/options.h"

namespace millrace {

struct MachineConfig {
  int64_t threads = 0;
  std::string device = "auto", precision = "fp32";
  bool wait_for_nodes = false, capture = true;
  std::string kernels = "heuristic", kernel_cache;
};

OptionTable machine_flags(MachineConfig& config, const char* group);

}  // namespace millrace
