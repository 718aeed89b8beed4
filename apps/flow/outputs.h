// What motionnet-flow writes of one video, a format each.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "apps/flow/settings.h"
#include "data/flow.h"

namespace millrace {

struct FlowOfPair {
  int64_t number = 0;  // of the pair, from 1
  const Image& frame;  // the first of the two
  const Flow& flow;    // as it is to be written
};

class FlowOutput {
 public:
  virtual ~FlowOutput() = default;
  virtual void add(const FlowOfPair& pair) = 0;
  virtual void finish() {}  // once, after all pairs
};

struct OutputOptions {
  std::filesystem::path folder;  // is there
  std::string source;            // the video's name
  float video_radius = 0;        // pixels of full colour in a video
};
std::vector<std::unique_ptr<FlowOutput>> make_outputs(const FlowSettings& settings,
                                                      const OutputOptions& options);

// Is `name` a file that some format of motionnet-flow writes?
bool is_output_name(const std::string& name);

}  // namespace millrace
