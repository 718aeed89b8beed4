// What labelled sources of one experiment must have in common: training, validation and test.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/source.h"

namespace millrace {

// The classes of one source and what messages call it: "the training data", a list's name.
struct NamedClasses {
  std::string name;
  const std::vector<std::string>& classes;
};
// Errors (data): other numbers of classes, or another name for a label; the message has the first one.
void check_same_classes(const NamedClasses& a, const NamedClasses& b);

// Items of `test` that `train` has too: of the same path, or of the same name apart from folders, extension
// and upper or lower case where they have labels of the same class (videos are called `1.avi` in more than
// one class).
struct SharedVideos {
  int64_t count = 0;
  std::vector<std::string> first;  // names of at most 5
};
SharedVideos shared_videos(const ClipSource& train, const ClipSource& test);
// "12 of 90 test videos are training videos too: a, b, ..."; empty where there is none.
std::string shared_videos_warning(const ClipSource& train, const ClipSource& test);

}  // namespace millrace
