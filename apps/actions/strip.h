// A picture of what a recogniser saw of a video: frames, the flow between them, and what it made of them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/actions/ranking.h"
#include "data/flow.h"
#include "data/image.h"

namespace millrace {

struct StripCell {
  std::string when;  // "0:02.4"
  Image frame;
  std::optional<Flow> flow;  // from this frame to the next, in pixels of its own grid
};

struct Strip {
  std::string title;
  std::vector<StripCell> cells;      // at least one
  std::vector<RankedClass> classes;  // that are listed below
};

// Frames side by side with their times; below each its flow in colours, at one scale for the whole strip,
// which is written beside the legend; then a bar per class. Errors (runtime): no cell.
Image strip_picture(const Strip& strip);

}  // namespace millrace
