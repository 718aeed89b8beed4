#include "data/frame_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

#include "core/error.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxDigits = 15;

struct NumberedFile {
  int64_t number;
  std::string digits;
  fs::path path;
};

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

using Kind = std::pair<std::string, std::string>;  // prefix, extension
using Kinds = std::map<Kind, std::vector<NumberedFile>>;

Kinds find_numbered_images(const fs::path& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error)
    fail(ErrorKind::data, {.where = folder.string(), .expected = "a folder", .got = error.message()});
  Kinds kinds;
  for (const fs::directory_entry& entry : entries) {
    const std::string extension = lower(entry.path().extension().string());
    if (extension != ".jpg" && extension != ".jpeg" && extension != ".png" && extension != ".ppm") continue;
    const std::string stem = entry.path().stem().string();
    const size_t last_other = stem.find_last_not_of("0123456789");
    const size_t prefix_length = last_other == std::string::npos ? 0 : last_other + 1;
    const std::string digits = stem.substr(prefix_length);
    if (digits.empty() || digits.size() > kMaxDigits || !entry.is_regular_file(error)) continue;
    kinds[{stem.substr(0, prefix_length), extension}].push_back({std::stoll(digits), digits, entry.path()});
  }
  return kinds;
}

// KITTI's flow beside frames is no frame.
void drop_flow(Kinds& kinds) {
  if (kinds.size() > 1) kinds.erase({"flow", ".png"});
}

const Kinds::value_type& choose_kind(const fs::path& folder, const Kinds& kinds) {
  if (kinds.size() == 1) return *kinds.begin();
  const Kinds::value_type* chosen = nullptr;
  int64_t usual = 0;
  for (const auto& kind : kinds) {
    const std::string& prefix = kind.first.first;
    if (prefix != "img_" && prefix != "image_" && prefix != "frame" && prefix != "frame_") continue;
    chosen = &kind;
    ++usual;
  }
  if (usual == 1) return *chosen;
  std::string names;
  for (const auto& [kind, files] : kinds) {
    if (names.size() < 120)
      names += fmt::format("{}{}<number>{}", names.empty() ? "" : ", ", kind.first, kind.second);
  }
  fail(ErrorKind::data, {.where = folder.string(),
                         .expected = "frames of one kind, for instance img_<number>.jpg",
                         .got = names,
                         .hint = "Give each video's frames a folder of their own"});
}

}  // namespace

bool FrameFolder::has_truth() const {
  return std::any_of(truth.begin(), truth.end(), [](const fs::path& path) { return !path.empty(); });
}

std::optional<FrameFolder> list_frames(const fs::path& folder) {
  Kinds kinds = find_numbered_images(folder);
  if (kinds.empty()) return std::nullopt;
  drop_flow(kinds);
  const auto& [kind, unsorted] = choose_kind(folder, kinds);
  std::vector<NumberedFile> files = unsorted;
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) {
    return std::pair(a.number, a.path) < std::pair(b.number, b.path);
  });
  FrameFolder found;
  for (size_t k = 0; k < files.size(); ++k) {
    if (k > 0 && files[k].number != files[k - 1].number + 1) {
      fail(ErrorKind::data, {.where = folder.string(),
                             .expected = fmt::format("frame {} after {}", files[k - 1].number + 1,
                                                     files[k - 1].path.filename().string()),
                             .got = files[k].path.filename().string()});
    }
    found.frames.push_back(files[k].path);
    fs::path truth;
    for (const char* extension : {".png", ".flo"}) {
      const fs::path file = folder / ("flow" + files[k].digits + extension);
      std::error_code error;
      if (kind.first != "flow" && fs::is_regular_file(file, error)) truth = file;
    }
    found.truth.push_back(truth);
  }
  return found;
}

}  // namespace millrace
