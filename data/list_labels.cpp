// What the numbers of a list mean: labels from 0, and the parts of HMDB51.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <unordered_map>

#include "core/error.h"
#include "core/files.h"
#include "data/lists.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

[[noreturn]] void fail_entry(const VideoList& list, const ListEntry& entry, const Mismatch& m) {
  Mismatch placed = m;
  placed.where = fmt::format("{}:{}", list.name, entry.line);
  fail(ErrorKind::data, placed);
}

using ClassIndex = std::unordered_map<std::string, int64_t>;

// Of each entry the class that the folder around it names; -1 where it names none.
std::vector<int64_t> classes_of_folders(const VideoList& list, const ClassIndex& index) {
  std::vector<int64_t> classes;
  for (const ListEntry& entry : list.entries) {
    const auto found = index.find(lower(fs::path(entry.path).parent_path().filename().string()));
    classes.push_back(found == index.end() ? -1 : found->second);
  }
  return classes;
}

// Most entries have the right label; so what most of them say is the base, and the others are wrong.
std::optional<int64_t> base_by_folders(const VideoList& list, const std::vector<int64_t>& folders) {
  int64_t agree[2] = {0, 0}, told = 0;
  for (size_t k = 0; k < folders.size(); ++k) {
    if (folders[k] < 0) continue;
    ++told;
    const int64_t base = *list.entries[k].label - folders[k];
    if (base == 0 || base == 1) ++agree[base];
  }
  if (told == 0) return std::nullopt;
  return agree[1] > agree[0] ? 1 : 0;
}

int64_t base_by_range(const VideoList& list, const ClassNames* classes) {
  const auto [least, most] =
      std::minmax_element(list.entries.begin(), list.entries.end(),
                          [](const ListEntry& a, const ListEntry& b) { return a.label < b.label; });
  if (*least->label == 0) return 0;
  if (classes && *most->label == static_cast<int64_t>(classes->names.size())) return 1;
  fail(ErrorKind::data,
       {.where = list.name,
        .expected = "to see whether labels count from 0 or from 1",
        .got = fmt::format("labels from {} to {}, which both may be", *least->label, *most->label),
        .hint = "Say which (--label-base 0 or 1), or give the names of the classes (--classes FILE)"});
}

void label_by_folders(VideoList& list, const std::vector<int64_t>& folders) {
  for (size_t k = 0; k < folders.size(); ++k) {
    if (folders[k] < 0) {
      fail_entry(list, list.entries[k],
                 {.where = {},
                  .expected = "a label, or a path whose folder is a class",
                  .got = fmt::format("\"{}\"", list.entries[k].path)});
    }
    list.entries[k].label = folders[k];
  }
}

}  // namespace

void number_labels(VideoList& list, const LabelOptions& options) {
  const ClassNames* classes = options.classes;
  ClassIndex index;
  for (size_t k = 0; classes && k < classes->names.size(); ++k)
    index.try_emplace(lower(classes->names[k]), static_cast<int64_t>(k));
  const std::vector<int64_t> folders = classes_of_folders(list, index);
  if (classes) list.classes = classes->names;
  if (!list.entries.front().label) return label_by_folders(list, folders);

  const std::optional<int64_t> by_folders = base_by_folders(list, folders);
  const int64_t base = options.base == LabelBase::zero  ? 0
                       : options.base == LabelBase::one ? 1
                       : by_folders                     ? *by_folders
                                                        : base_by_range(list, classes);
  for (size_t k = 0; k < list.entries.size(); ++k) {
    ListEntry& entry = list.entries[k];
    const int64_t label = *entry.label - base;
    const auto count = static_cast<int64_t>(list.classes.size());
    if (label < 0 || (classes && label >= count)) {
      fail_entry(list, entry,
                 {.where = {},
                  .expected = classes ? fmt::format("a label from {} to {}", base, base + count - 1)
                                      : fmt::format("a label of at least {}", base),
                  .got = std::to_string(*entry.label)});
    }
    if (folders[k] >= 0 && folders[k] != label) {
      fail_entry(
          list, entry,
          {.where = {},
           .expected = fmt::format("label {} of its folder's class \"{}\" (labels count from {})",
                                   folders[k] + base, list.classes[static_cast<size_t>(folders[k])], base),
           .got = std::to_string(*entry.label)});
    }
    entry.label = label;
  }
}

std::optional<ClassNames> classes_by_folders(const VideoList& list) {
  const bool labelled = list.entries.front().label.has_value();
  std::map<std::string, std::string> folders;  // as compared, and as written
  std::map<int64_t, std::string> by_label;
  std::map<std::string, int64_t> labels;
  for (const ListEntry& entry : list.entries) {
    const std::string folder = fs::path(entry.path).parent_path().filename().string(), key = lower(folder);
    if (folder.empty() || folder == "." || folder == "..") return std::nullopt;
    folders.try_emplace(key, folder);
    if (!labelled) continue;
    if (by_label.try_emplace(entry.label.value(), key).first->second != key) return std::nullopt;
    if (labels.try_emplace(key, *entry.label).first->second != *entry.label) return std::nullopt;
  }
  ClassNames classes;
  if (!labelled) {
    for (const auto& folder : folders) classes.names.push_back(folder.second);
    std::sort(classes.names.begin(), classes.names.end());
    return classes;
  }
  classes.first = by_label.begin()->first;
  const int64_t last = by_label.rbegin()->first;
  if (classes.first > 1 || last - classes.first + 1 != static_cast<int64_t>(by_label.size()))
    return std::nullopt;
  for (const auto& label : by_label) classes.names.push_back(folders.at(label.second));
  return classes;
}

std::optional<Hmdb51Name> hmdb51_name(const std::string& path) {
  constexpr std::string_view kMiddle = "_test_split", kEnd = ".txt";
  const std::string file = fs::path(path).filename().string();
  const size_t middle = file.rfind(kMiddle);
  if (middle == std::string::npos || middle == 0) return std::nullopt;
  const std::string_view split = std::string_view(file).substr(middle + kMiddle.size());
  if (split.size() != 1 + kEnd.size() || split.substr(1) != kEnd || split[0] < '0' || split[0] > '9')
    return std::nullopt;
  return Hmdb51Name{.class_name = file.substr(0, middle), .split = split[0] - '0'};
}

VideoList read_hmdb51(const Hmdb51Options& options) {
  std::vector<std::pair<std::string, fs::path>> files;
  std::error_code error;
  for (const fs::directory_entry& file : fs::directory_iterator(options.folder, error)) {
    const auto name = hmdb51_name(file.path().string());
    if (name && name->split == options.split) files.emplace_back(name->class_name, file.path());
  }
  const std::string expected = fmt::format("a folder with <class>_test_split{}.txt", options.split);
  if (error || files.empty()) {
    fail(ErrorKind::data, {.where = options.folder.string(),
                           .expected = expected,
                           .got = error ? error.message() : "one without"});
  }
  std::sort(files.begin(), files.end());
  VideoList list{.name = options.folder.string(),
                 .columns = ListColumns::path_label,
                 .columns_line = 0,
                 .entries = {},
                 .repeated = 0,
                 .classes = {}};
  for (const auto& file : files) list.classes.push_back(file.first);
  if (options.classes) list.classes = options.classes->names;
  for (const auto& [class_name, path] : files) {
    const auto found = std::find(list.classes.begin(), list.classes.end(), class_name);
    if (found == list.classes.end()) {
      fail(ErrorKind::data, {.where = path.string(),
                             .expected = "a class that the names of classes have",
                             .got = "\"" + class_name + "\""});
    }
    const int64_t label = found - list.classes.begin();
    for (Hmdb51Line& line : parse_hmdb51(read_file(path, kMaxFileBytes), path.string())) {
      if (line.part != static_cast<int64_t>(options.part)) continue;
      list.entries.push_back(
          {.path = class_name + "/" + line.file, .frames = {}, .label = label, .line = line.line});
    }
  }
  if (list.entries.empty()) {
    fail(ErrorKind::data, {.where = list.name,
                           .expected = fmt::format("clips marked {}", static_cast<int64_t>(options.part)),
                           .got = fmt::format("none in {} lists", files.size())});
  }
  return list;
}

}  // namespace millrace
