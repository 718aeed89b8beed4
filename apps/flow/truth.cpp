#include "apps/flow/truth.h"

#include <fmt/format.h>

#include "core/error.h"
#include "data/flow_files.h"

namespace millrace {

namespace fs = std::filesystem;

TrueFlow::TrueFlow(fs::path path, std::optional<FlowByteMapping> given)
    : path_(std::move(path)), given_(given) {
  std::error_code error;
  is_file_ = !fs::is_directory(path_, error);
  if (is_file_ && !fs::exists(path_, error))
    fail(ErrorKind::data, {path_.string(), "true flow, a file or a folder", "no such file or folder", ""});
}

fs::path TrueFlow::folder_of(const std::string& item) const {
  std::error_code error;
  return fs::is_directory(path_ / item, error) ? path_ / item : path_;
}

std::string TrueFlow::expected(const std::string& item) const {
  return fmt::format("flow_00001.flo, flow_00001.png, kitti_00001.png or flow_x_00001.jpg in {}",
                     folder_of(item).string());
}

std::optional<Flow> TrueFlow::of(const std::string& item, int64_t number) {
  if (is_file_) return read_flow(path_.string());
  const fs::path folder = folder_of(item);
  for (const char* name : {"flow_{:05}.flo", "flow_{:05}.png", "kitti_{:05}.png"}) {
    const fs::path file = folder / fmt::format(fmt::runtime(name), number);
    std::error_code error;
    if (fs::is_regular_file(file, error)) return read_flow(file.string());
  }
  std::error_code error;
  if (!fs::exists(folder / flow_jpeg_names(number).x, error)) return std::nullopt;
  if (!pairs_ || pairs_folder_ != folder) {
    pairs_ = std::make_unique<FlowJpegFolder>(folder, given_);
    pairs_folder_ = folder;
  }
  return pairs_->read(number);
}

}  // namespace millrace
