#include "data/labels.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <unordered_set>

#include "core/error.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
constexpr size_t kNamed = 5;

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// Of a file that exists the one path that all its names and links lead to.
std::string real_path(const ClipSource& source, int64_t item) {
  const std::string path = source.path(item);
  if (path.empty()) return {};
  std::error_code error;
  const fs::path real = fs::weakly_canonical(path, error);
  return "path " + (error ? fs::path(path).lexically_normal() : real).string();
}

std::string class_and_name(const ClipSource& source, int64_t item) {
  const std::string path = source.path(item);
  fs::path name = fs::path(path.empty() ? source.name(item) : path).filename();
  if (is_video_name(name)) name.replace_extension();
  const auto label = source.label(item);
  const auto& classes = source.classes();
  const bool named = label && *label >= 0 && *label < static_cast<int64_t>(classes.size());
  const std::string of_class = named ? classes[static_cast<size_t>(*label)] : "";
  return "name " + lower(of_class) + "/" + lower(name.string());
}

}  // namespace

void check_same_classes(const NamedClasses& a, const NamedClasses& b) {
  constexpr const char* kHint =
      "Give both the same class names (--classes FILE), numbered as the network was trained";
  const size_t common = std::min(a.classes.size(), b.classes.size());
  for (size_t k = 0; k < common; ++k) {
    if (a.classes[k] == b.classes[k]) continue;
    fail(ErrorKind::data, {.where = b.name,
                           .expected = fmt::format("class {} to be \"{}\" as in {}", k, a.classes[k], a.name),
                           .got = fmt::format("\"{}\"", b.classes[k]),
                           .hint = kHint});
  }
  if (a.classes.size() == b.classes.size()) return;
  const auto& longer = a.classes.size() > common ? a : b;
  fail(ErrorKind::data,
       {.where = b.name,
        .expected = fmt::format("the {} classes of {}", a.classes.size(), a.name),
        .got = fmt::format("{}; \"{}\" is only in {}", b.classes.size(), longer.classes[common], longer.name),
        .hint = kHint});
}

SharedVideos shared_videos(const ClipSource& train, const ClipSource& test) {
  if (train.endless() || test.endless()) return {};
  std::unordered_set<std::string> trained;
  for (int64_t item = 0; item < train.size(); ++item) {
    trained.insert(real_path(train, item));
    trained.insert(class_and_name(train, item));
  }
  trained.erase("");
  SharedVideos shared;
  for (int64_t item = 0; item < test.size(); ++item) {
    if (!trained.contains(real_path(test, item)) && !trained.contains(class_and_name(test, item))) continue;
    if (static_cast<size_t>(++shared.count) <= kNamed) shared.first.push_back(test.name(item));
  }
  return shared;
}

std::string shared_videos_warning(const ClipSource& train, const ClipSource& test) {
  const SharedVideos shared = shared_videos(train, test);
  if (shared.count == 0) return {};
  return fmt::format("{} of {} test videos are training videos too: {}{}; what they show is no test",
                     shared.count, test.size(), fmt::join(shared.first, ", "),
                     static_cast<size_t>(shared.count) > kNamed ? ", ..." : "");
}

}  // namespace millrace
