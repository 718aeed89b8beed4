// The true flow that --truth names.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "data/flow_jpeg.h"

namespace millrace {

// A file, .flo or KITTI's PNG, for one pair of frames. Or a folder with, in <video's name>/ or, where that is
// not there, in itself, flow_%05d.flo, flow_%05d.png or kitti_%05d.png (both KITTI's), or pairs
// flow_x_%05d.jpg and flow_y_%05d.jpg, by the number of the pair from 1.
class TrueFlow {
 public:
  // `given`: how JPEG pairs are to be read, where the user says so. Errors (data): nothing there.
  TrueFlow(std::filesystem::path path, std::optional<FlowByteMapping> given);

  bool is_file() const { return is_file_; }
  // Nothing where no file has the number. Errors (data): it cannot be read.
  std::optional<Flow> of(const std::string& item, int64_t number);
  // What is looked for, for messages.
  std::string expected(const std::string& item) const;

 private:
  std::filesystem::path folder_of(const std::string& item) const;

  std::filesystem::path path_;
  std::optional<FlowByteMapping> given_;
  bool is_file_ = false;
  std::filesystem::path pairs_folder_;  // that pairs_ is of
  std::unique_ptr<FlowJpegFolder> pairs_;
};

}  // namespace millrace
