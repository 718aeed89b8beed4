// Options of twostream-predict.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/actions/fusion.h"
#include "apps/support/machine.h"

namespace millrace {

struct PredictSettings : MachineConfig {
  std::vector<std::string> weights;  // one file or two
  std::vector<std::string> inputs;   // each as open_source takes it
  std::string flow;                  // folder of stored flow, for a temporal stream
  std::string data_root;
  int64_t clips = 5, crops = 1;
  std::string fusion, fusion_weights;  // empty: as choose_fusion and default_weights say
  std::string window, stride;          // empty: no windows; half a window
  double fps = 0;                      // of what does not say it itself; 0: not known
  int64_t top = 5;
  std::string out;
  bool json = false;

  int64_t batch = 0;  // views that one pass of a network takes; 0: chosen

  std::string views() const { return std::to_string(clips) + "x" + std::to_string(crops); }
};

// Throws ErrorKind::usage and names the flag.
void check_settings(const PredictSettings& settings);

}  // namespace millrace
