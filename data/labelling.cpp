#include "data/labelling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <unordered_map>

#include "core/error.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kClassesBesideList = "classInd.txt";
constexpr size_t kNamed = 3;
constexpr int64_t kMostUnnamed = 100000;  // more is no class, and would be names by the million

// Case, and what stands for a blank, differ between a set's lists and its folders.
std::string plain(std::string text) {
  for (char& c : text) c = c == '_' ? ' ' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

std::string some_of(const std::vector<std::string>& names) {
  std::string text;
  for (size_t k = 0; k < std::min(names.size(), kNamed); ++k) text += (k > 0 ? ", " : "") + names[k];
  return text + (names.size() > kNamed ? ", ..." : "");
}

// The number of a class among given names.
class GivenClasses {
 public:
  explicit GivenClasses(const std::vector<std::string>& names) : names_(names) {
    for (size_t k = 0; k < names.size(); ++k) {
      exact_.try_emplace(names[k], static_cast<int64_t>(k));
      plain_.try_emplace(plain(names[k]), static_cast<int64_t>(k));
    }
  }

  int64_t number(const std::string& name, const std::string& where) const {
    if (const auto found = exact_.find(name); found != exact_.end()) return found->second;
    if (const auto found = plain_.find(plain(name)); found != plain_.end()) return found->second;
    fail(ErrorKind::data,
         {.where = where,
          .expected = fmt::format("one of the {} given classes ({})", names_.size(), some_of(names_)),
          .got = fmt::format("class \"{}\"", name)});
  }

 private:
  const std::vector<std::string>& names_;
  std::unordered_map<std::string, int64_t> exact_, plain_;
};

// Labels of the list's own classes become those of `names`.
void renumber(VideoList& list, const std::vector<std::string>& names) {
  if (list.classes == names) return;
  const GivenClasses given(names);
  for (ListEntry& entry : list.entries) {
    entry.label = given.number(list.classes[static_cast<size_t>(entry.label.value())],
                               fmt::format("{}:{}", list.name, entry.line));
  }
  list.classes = names;
}

// Names for the numbers in a list that is not labelled yet.
std::optional<ClassNames> names_for(const SourceOptions& options, const fs::path& folder,
                                    const VideoList& list) {
  std::error_code error;
  const fs::path beside = folder / kClassesBesideList;
  if (!options.classes_file.empty()) return read_class_names(options.classes_file);
  if (fs::is_regular_file(beside, error)) return read_class_names(beside);
  if (!options.class_names.empty()) return ClassNames{.names = options.class_names};
  return classes_by_folders(list);
}

void name_by_numbers(VideoList& list) {
  int64_t most = 0;
  for (const ListEntry& entry : list.entries) {
    most = std::max(most, entry.label.value());
    if (most < kMostUnnamed) continue;
    fail(ErrorKind::data,
         {.where = fmt::format("{}:{}", list.name, entry.line),
          .expected = fmt::format("a label below {} where classes have no names", kMostUnnamed),
          .got = std::to_string(most)});
  }
  for (int64_t label = 0; label <= most; ++label) list.classes.push_back(std::to_string(label));
}

void warn_of_one_class(const SourceOptions& options, const std::vector<std::string>& classes,
                       const std::string& hint) {
  if (classes.size() != 1) return;
  options.warn(fmt::format("[{}] all videos are of one class, \"{}\"; {}", options.spec, classes[0], hint));
}

}  // namespace

void label_list(const SourceOptions& options, const fs::path& folder, VideoList& list) {
  if (list.classes.empty()) {
    const std::optional<ClassNames> names = names_for(options, folder, list);
    number_labels(list, {.classes = names ? &*names : nullptr, .base = options.label_base});
    if (list.classes.empty()) name_by_numbers(list);
  } else if (!options.classes_file.empty()) {  // HMDB51 and Kinetics name their classes themselves
    renumber(list, read_class_names(options.classes_file).names);
  }
  if (!options.class_names.empty()) renumber(list, options.class_names);
  warn_of_one_class(options, list.classes, "is this the list that was meant?");
}

std::vector<std::string> label_items(const SourceOptions& options, std::vector<FileItem>& items) {
  const auto class_of = [](const FileItem& item) { return item.name.substr(0, item.name.find('/')); };
  std::set<std::string> folders;
  for (const FileItem& item : items) {
    if (item.name.find('/') == std::string::npos) {
      fail(ErrorKind::data,
           {.where = options.spec,
            .expected = "a folder for each class, with its videos in it",
            .got = fmt::format("\"{}\" in none", item.path.string()),
            .hint = "A list of videos with labels says their classes too (docs/formats.md)"});
    }
    folders.insert(class_of(item));
  }
  std::vector<std::string> classes(folders.begin(), folders.end());
  if (!options.class_names.empty())
    classes = options.class_names;
  else if (!options.classes_file.empty())
    classes = read_class_names(options.classes_file).names;
  const GivenClasses given(classes);
  for (FileItem& item : items) item.label = given.number(class_of(item), item.path.string());
  warn_of_one_class(options, classes, "the folder given should hold a folder for each class");
  return classes;
}

}  // namespace millrace
