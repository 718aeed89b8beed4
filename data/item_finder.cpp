// The videos and folders of frames or of flow below a folder.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "data/files_source.h"
#include "data/lists.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxDepth = 4;

// Videos and folders of frames or of flow below `folder`, sorted by path. Images beside videos are not
// frames.
void find_items(const fs::path& folder, int depth, const SourceOptions& options,
                std::vector<FileItem>& items) {
  std::vector<fs::path> videos, folders;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    std::error_code unreadable;
    if (entry.path().filename().string().starts_with('.')) continue;  // hidden: half written, or no data
    if (entry.is_directory(unreadable)) folders.push_back(entry.path());
    if (entry.is_regular_file(unreadable) && is_video_name(entry.path()) && !options.flow)
      videos.push_back(entry.path());
  }
  if (error)
    fail(ErrorKind::data,
         {.where = folder.string(), .expected = "a readable folder", .got = error.message()});
  std::sort(videos.begin(), videos.end());
  std::sort(folders.begin(), folders.end());
  const auto add = [&](const fs::path& path, std::optional<FrameFolder> frames) {
    items.push_back({.path = path, .name = {}, .folder = std::move(frames)});
  };
  for (const fs::path& video : videos) add(video, {});
  if (videos.empty()) {
    try {
      if (auto frames = frames_in(options, folder)) add(folder, std::move(frames));
    } catch (const Error& broken) {
      if (depth == 0) throw;
      leave_out(options, folder, broken.what());
    }
  }
  if (depth == kMaxDepth) return;
  for (const fs::path& inner : folders) find_items(inner, depth + 1, options, items);
}

// A video is called by its path below the root without the extension; with it where two would be called the
// same.
void name_items(const fs::path& root, std::vector<FileItem>& items) {
  std::map<std::string, int> count;
  const auto short_name = [&](const FileItem& item) {
    const fs::path below = item.path == root ? root.filename() : item.path.lexically_relative(root);
    return item.folder ? below.string() : (below.parent_path() / below.stem()).string();
  };
  for (const FileItem& item : items) ++count[short_name(item)];
  for (FileItem& item : items) {
    const std::string name = short_name(item);
    item.name = count[name] == 1 ? name : name + item.path.extension().string();
  }
}

}  // namespace

std::vector<FileItem> list_files(const SourceOptions& options) {
  fs::path root = fs::path(options.spec).lexically_normal();
  if (!root.has_filename()) root = root.parent_path();  // "frames/" is "frames"
  std::error_code error;
  // "." and ".." have no name of their own, which results could go by.
  if (root == "." || root.filename() == "..") root = fs::weakly_canonical(root, error);
  std::vector<FileItem> items;
  if (fs::is_directory(root, error)) {
    find_items(root, 0, options, items);
    if (items.empty()) {
      fail(ErrorKind::data,
           {.where = options.spec,
            .expected = options.flow
                            ? "folders of stored flow (flow_x_00001.jpg and flow_y_00001.jpg, flow_00001.flo "
                              "or kitti_00001.png, ...)"
                            : "a folder with videos or numbered frames (img_00001.jpg, frame000001.png, ...)",
            .got = "one without"});
    }
  } else if (fs::exists(root, error)) {
    if (options.flow) {
      fail(ErrorKind::data, {.where = options.spec,
                             .expected = "a folder of stored flow, or of these",
                             .got = "a file",
                             .hint = "motionnet-flow --out writes such folders"});
    }
    items.push_back({.path = root, .name = {}, .folder = {}});
  } else {
    fail(ErrorKind::data, {.where = options.spec,
                           .expected = "a video, a folder, a list (.txt) or synthetic:",
                           .got = "no such file or folder"});
  }
  name_items(root, items);
  return items;
}

}  // namespace millrace
