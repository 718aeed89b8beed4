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
  std::optional<FrameFolder> folder;  // of frames or of flow, else a video
  std::optional<int64_t> label = {};  // from 0
};
// The videos and folders of frames, or with SourceOptions::flow the folders of flow, that `options.spec`
// means. A folder whose frames are not numbered as they should be is left out with a warning where there are
// others. `warn` must be set.
std::vector<FileItem> list_files(const SourceOptions& options);
// These in this order, but those that are broken or too short (SourceOptions::min_frames). `warn` must be
// set. `classes`: the names of the items' labels.
SourcePtr open_items(const SourceOptions& options, std::vector<FileItem> items,
                     std::vector<std::string> classes = {});
// The frames in a folder, or with SourceOptions::flow its flow; nothing where it holds none.
std::optional<FrameFolder> frames_in(const SourceOptions& options, const std::filesystem::path& folder);
// Says that an item is left out.
void leave_out(const SourceOptions& options, const std::filesystem::path& path, const std::string& reason);

}  // namespace millrace
