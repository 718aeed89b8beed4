// Assertions over all ops of one header; CMake makes one test of each for every header.
#pragma once

#include <string>

namespace millrace::check {

void require_gradients(const std::string& family);
// Parity, repeat and reach of every kernel on one device.
void require_parity(const std::string& family, const std::string& device);
// The same for the CUDA kernels, simulated on the CPU. Needs cuda_sim.cpp beside this file.
void require_sim_parity(const std::string& family);
// The same on a GPU, where there is one. Needs cuda.cpp.
void require_cuda_parity(const std::string& family);
// And compiled so that races are found (cuda/sim/race). Needs cuda_race.cpp beside this file.
void require_no_races(const std::string& family);

}  // namespace millrace::check
