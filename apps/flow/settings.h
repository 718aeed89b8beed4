// What the command line of motionnet-flow says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/support/machine.h"
#include "data/flow_jpeg.h"

namespace millrace {

struct FlowSettings : MachineConfig {
  std::string weights, data_root, out, truth;
  std::vector<std::string> data, formats{"flo"};
  int64_t height = 0, width = 0, border = 0, every = 1, quality = 95, fps = 25;
  double max_flow = 0;
  std::optional<double> bound;          // of JPEG pairs; 20 where it is not given
  std::optional<std::string> rounding;  // round where it is not given
  bool skip_missing = false, native = false, side_by_side = false, overwrite = false, json = false;

  bool has_format(const std::string& format) const;
  FlowByteMapping mapping() const;
  // The mapping as far as it was given on the command line.
  std::optional<FlowByteMapping> given_mapping() const;
};

// Throws ErrorKind::usage on what cannot be meant, naming the flag. "video" becomes "mp4", and a format named
// twice counts once.
void check_settings(FlowSettings& settings);

// The extension of the videos that are asked for: "mp4", "mkv" or "avi"; none: nothing.
std::optional<std::string> video_format(const FlowSettings& settings);

}  // namespace millrace
