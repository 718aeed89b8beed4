#include "apps/support/machine.h"

#include "apps/support/backends.h"

namespace millrace {

OptionTable machine_flags(MachineConfig& c, const char* group) {
  return {
      {"threads", &c.threads, "of computation; 0: one a core", group},
      {"device", &c.device, kDeviceHelp, group},
      {"precision", &c.precision, kPrecisionHelp, group},
      {"wait_for_nodes", &c.wait_for_nodes, kWaitForNodesHelp, group},
      {"capture", &c.capture, kCaptureHelp, group},
      {"kernels", &c.kernels, "heuristic: by rules; measure: the fastest, timed before the first step",
       group},
      {"kernel_cache", &c.kernel_cache,
       "a file of kernels that were measured: used first, and added to by --kernels measure", group},
  };
}

}  // namespace millrace
