// One clip of a data set, decoded from its first to its last byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/files_source.h"

namespace millrace {

// Something broken: which file, and why.
struct Problem {
  std::string path;
  std::string reason;
};
// An Error's message, "[path] reason".
Problem problem_of(const std::string& message);

struct ClipToCheck {
  FileItem item;
  std::optional<int64_t> listed_frames;  // what a list says
  int64_t min_frames = 2;
};

struct ClipReport {
  int64_t frames = 0;
  Size size = {};   // of the first frame that can be read
  double rate = 0;  // of a video, frames per second; 0: not known
  int64_t flows = 0;
  double max_flow = 0;  // pixels
  std::vector<Problem> problems;
};

// Never throws for what is wrong with the files. After a signal it stops early.
ClipReport check_clip(const ClipToCheck& clip);

}  // namespace millrace
