// Two images as a source of one item with two frames.
#pragma once

#include <string>
#include <vector>

#include "data/source.h"

namespace millrace {

class PairSource final : public ClipSource {
 public:
  // Errors (data): an image that cannot be read; two sizes.
  PairSource(const std::string& first, const std::string& second);

  int64_t size() const override { return 1; }
  std::string name(int64_t) const override { return name_; }
  std::string path(int64_t) const override { return path_; }
  int64_t length(int64_t) const override { return 2; }
  void read(const ClipRange& range, Clip& clip) const override;

 private:
  std::string name_, path_;
  std::vector<Image> frames_;
};

}  // namespace millrace
