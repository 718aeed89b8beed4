#include "data/list_finder.h"

#include <algorithm>
#include <cctype>
#include <iterator>

#include "data/lists.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

fs::path ListFinder::find(const ListEntry& entry) {
  if (fs::path found = as_written(entry.path); !found.empty()) return found;
  for (const std::string& other : entry.other_paths) {
    if (fs::path found = as_written(other); !found.empty()) return found;
  }
  fs::path found = in_other_case(entry.path);
  for (const std::string& other : entry.other_paths) {
    if (!found.empty()) break;
    found = in_other_case(other);
  }
  other_case_ += !found.empty();
  return found;
}

fs::path ListFinder::existing(const fs::path& path) const {
  std::error_code error;
  if (folders_only_ ? fs::is_directory(path, error) : fs::exists(path, error)) return path;
  const fs::path folder = fs::path(path).replace_extension();
  return is_video_name(path) && fs::is_directory(folder, error) ? folder : fs::path();
}

fs::path ListFinder::as_written(const std::string& written) const {
  const fs::path path(written), name = path.filename();
  if (fs::path found = existing(root_ / path); !found.empty()) return found;
  // Without the folders before it "gone/" would be the root, and "gone/.." what the root lies in.
  if (name.empty() || name == "." || name == "..") return {};
  return existing(root_ / name);
}

fs::path ListFinder::in_other_case(const std::string& written) {
  const fs::path path(written);
  fs::path found = without_case(path);
  std::error_code error;
  if (folders_only_ && !fs::is_directory(found, error)) found.clear();
  if (found.empty() && is_video_name(path)) found = without_case(fs::path(path).replace_extension());
  return found;
}

fs::path ListFinder::without_case(const fs::path& path) {
  fs::path found = root_;
  if (path.is_absolute()) return {};
  for (const fs::path& part : path) {
    const auto& names = names_in(found);
    const auto same = names.equal_range(lower(part.string()));
    if (std::distance(same.first, same.second) != 1) return {};
    found /= same.first->second;
  }
  return found;
}

const std::multimap<std::string, std::string>& ListFinder::names_in(const fs::path& folder) {
  const auto [known, is_new] = names_.try_emplace(folder.string());
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; is_new && !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    known->second.emplace(lower(name), name);
  }
  return known->second;
}

}  // namespace millrace
