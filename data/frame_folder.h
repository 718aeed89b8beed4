// A video as a folder of numbered images.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace millrace {

enum class FrameKind { image, flow_pair, flow_file };

struct FrameFolder {
  std::vector<std::filesystem::path> frames;  // in order of their numbers, which have no gap
  std::vector<std::filesystem::path> truth;   // flow<number>.flo or .png, see below, or empty
  FrameKind kind = FrameKind::image;
  // Of flow (data/flow_folder.h): `frames` are the pictures of u, or the flow files; these are those of v.
  std::vector<std::filesystem::path> flow_y = {};
  std::optional<double> flow_bound = {};  // as flow.json says
  bool has_truth() const;
};

// The truth of a frame is the flow<number>.flo beside the frame of that number, else its flow<number>.png,
// KITTI's; images flow<number>.png are no frames where there are others.
//
// Nothing when the folder holds no numbered images. Of several kinds (same prefix, same extension) the one
// named img_, image_ or frame is taken. Errors (data): no such folder; several kinds and none with such a
// name; a number missing.
std::optional<FrameFolder> list_frames(const std::filesystem::path& folder);

}  // namespace millrace
