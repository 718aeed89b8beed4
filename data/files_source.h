// Clips from files: videos and folders of frames.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/frame_folder.h"
#include "data/source.h"

namespace millrace {

// open_source for everything on disk.
SourcePtr open_files(const SourceOptions& options);

// One video or folder of frames.
struct FileItem {
  std::filesystem::path path;
  std::string name;                   // unlike the others
  std::optional<FrameFolder> folder;  // else a video
};
// The videos and folders of frames that `options.spec` means. A folder whose frames are not numbered as they
// should be is left out with a warning where there are others. `warn` must be set.
std::vector<FileItem> list_files(const SourceOptions& options);
// These in this order, but those that are broken or too short (SourceOptions::min_frames). `warn` must be
// set.
SourcePtr open_items(const SourceOptions& options, std::vector<FileItem> items);

}  // namespace millrace
