// For tests of recorded steps: a simulated GPU, and the lines that are logged.
#pragma once

#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/registry.h"
#include "cuda/device.h"
#include "cuda/register.h"
#include "cuda/sim/driver_sim.h"
#include "tests/unit/temporary_folder.h"

namespace millrace::test {

struct SimGpu {
  SimGpu() : driver(std::make_shared<sim::SimDriver>()), device(driver, "cuda-sim", 0) {
    static const bool registered = [] {
      cuda_sim::register_backend(Registry::mutable_registry());
      return true;
    }();
    (void)registered;
  }
  std::shared_ptr<sim::SimDriver> driver;
  CudaDevice device;
};

inline std::vector<std::string> log_lines_of(const std::function<void()>& f) {
  const TemporaryFolder folder;
  log().set_file(folder / "log");
  f();
  std::ifstream file(folder / "log");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

}  // namespace millrace::test
