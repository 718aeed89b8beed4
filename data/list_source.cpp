#include "data/list_source.h"

#include <fmt/format.h>

#include <filesystem>
#include <set>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "data/files_source.h"
#include "data/labelling.h"
#include "data/list_finder.h"
#include "data/lists.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHmdb51 = "hmdb51:";
constexpr size_t kNamed = 3;  // so many lines of a kind are named in a message

[[noreturn]] void fail_hmdb51(const std::string& spec) {
  fail(ErrorKind::usage,
       {.where = "hmdb51:",
        .expected = "hmdb51:FOLDER,split=1,part=train with split 1, 2 or 3 and part train or test",
        .got = "\"" + spec + "\"",
        .hint = "FOLDER holds brush_hair_test_split1.txt and the others"});
}

// "hmdb51:FOLDER,split=1,part=train"; the folder's name may hold commas.
Hmdb51Options parse_hmdb51_spec(const std::string& spec) {
  Hmdb51Options options;
  std::string rest = spec.substr(kHmdb51.size());
  std::set<std::string> keys;
  for (size_t comma = rest.rfind(','); comma != std::string::npos; comma = rest.rfind(',')) {
    const std::string word = rest.substr(comma + 1), key = word.substr(0, word.find('='));
    if (key != "split" && key != "part") break;
    if (!keys.insert(key).second) fail_hmdb51(spec);
    if (word == "split=1" || word == "split=2" || word == "split=3")
      options.split = word.back() - '0';
    else if (word == "part=train" || word == "part=test")
      options.part = word == "part=train" ? Hmdb51Part::train : Hmdb51Part::test;
    else
      fail_hmdb51(spec);
    rest.resize(comma);
  }
  if (rest.empty() || keys.size() != 2) fail_hmdb51(spec);
  options.folder = rest;
  return options;
}

// What is wrong with lines of the list, of one kind.
struct Faults {
  int64_t count = 0;
  std::string named;  // the first ones

  void add(const std::string& text) {
    if (static_cast<size_t>(++count) <= kNamed) named += (named.empty() ? "" : "; ") + text;
  }
  std::string text() const {
    return static_cast<size_t>(count) > kNamed ? named + fmt::format("; and {} more", count - kNamed) : named;
  }
};

// A path that can be a folder's name in results: no root, no "..", no extension. `found` is what it leads to.
std::string short_name(const ListEntry& entry, const fs::path& found) {
  fs::path path = fs::path(entry.path).lexically_normal();
  if (is_video_name(path)) path.replace_extension();
  if (!path.has_filename()) path = path.parent_path();
  const bool inside = path.is_relative() && !path.empty() && *path.begin() != "..";
  if (inside && path != ".") return path.string();
  std::error_code error;
  if (path == "." || path.filename() == "..") path = fs::weakly_canonical(found, error);
  return path.has_filename() ? path.filename().string() : "root";
}

// "a" for "a/", "./a" and "x/../a".
std::string plain(const fs::path& path) {
  const fs::path normal = path.lexically_normal();
  return normal.has_filename() ? normal.string() : normal.parent_path().string();
}

using Classes = std::vector<std::string>;

class ListOpener {
 public:
  ListOpener(const SourceOptions& options, VideoList list, fs::path root)
      : options_(options), list_(std::move(list)), root_(root), finder_(root, options.flow) {}

  SourcePtr open() {
    for (const ListEntry& entry : list_.entries) add(entry);
    report();
    return open_items(options_, std::move(items_), options_.labelled ? list_.classes : Classes{});
  }

 private:
  std::string place(const ListEntry& entry) const {
    return fmt::format("line {}, \"{}\"", entry.line, entry.path);
  }

  void add(const ListEntry& entry) {
    FileItem item{.path = finder_.find(entry), .name = {}, .folder = {}};
    if (options_.labelled) item.label = entry.label;
    if (item.path.empty()) return miss(entry, "");
    if (is_list_file(item.path)) {
      fail(ErrorKind::data, {.where = fmt::format("{}:{}", list_.name, entry.line),
                             .expected = "a video or a folder of frames",
                             .got = fmt::format("a list, \"{}\"", entry.path)});
    }
    const auto [before, is_new] = files_.try_emplace(plain(item.path), entry.path);
    if (!is_new) {
      fail(ErrorKind::data,
           {.where = fmt::format("{}:{}", list_.name, entry.line),
            .expected = "a video of its own for each line",
            .got = fmt::format("{} for \"{}\" and \"{}\"", item.path.string(), before->second, entry.path)});
    }
    std::error_code error;
    if (fs::is_directory(item.path, error) && !list_folder(entry, item)) return;
    item.name = short_name(entry, item.path);
    while (!names_.insert(item.name).second) item.name += fmt::format("_line{}", entry.line);
    items_.push_back(std::move(item));
  }

  bool list_folder(const ListEntry& entry, FileItem& item) {
    try {
      item.folder = frames_in(options_, item.path);
    } catch (const Error& broken) {
      if (list_.entries.size() == 1) throw;
      options_.warn(fmt::format("{}; left out", broken.what()));
      skipped_.emplace_back(entry.path, broken.what());
      return false;
    }
    if (!item.folder) {
      miss(entry, options_.flow ? "a folder without flow" : "a folder without frames");
      return false;
    }
    const auto frames = static_cast<int64_t>(item.folder->frames.size());
    if (!entry.frames || *entry.frames == frames) return true;
    if (options_.flow && *entry.frames == frames + 1) return true;  // the list counts the video's frames
    const std::string counts = fmt::format("{} instead of {}", frames, *entry.frames);
    miscounted_.add(place(entry) + ": " + counts);
    skipped_.emplace_back(entry.path, "frames: " + counts);
    return false;
  }

  void miss(const ListEntry& entry, const std::string& reason) {
    missing_.add(place(entry) + (reason.empty() ? "" : " (" + reason + ")"));
    skipped_.emplace_back(entry.path, reason.empty() ? "missing" : reason);
  }

  void report() const {
    for (const std::string& warning : list_.warnings) options_.warn(warning);
    if (list_.repeated > 0)
      options_.warn(fmt::format("[{}] lines repeated: {}; each counts once", list_.name, list_.repeated));
    if (finder_.other_case() > 0) {
      options_.warn(fmt::format("[{}] paths that the disk has in other upper and lower case: {}; taken",
                                list_.name, finder_.other_case()));
    }
    const auto total = list_.entries.size();
    if (missing_.count > 0) {
      judge({.where = list_.name,
             .expected =
                 fmt::format("its {} {} below {} (lines are \"{}\"{})", total,
                             options_.flow ? "folders of flow" : "videos or folders of frames",
                             root_.string(), columns_name(list_.columns),
                             list_.columns_line > 1 ? fmt::format(" as line {}", list_.columns_line) : ""),
             .got = fmt::format("{} missing: {}", missing_.count, missing_.text()),
             .hint = "--data-root DIR says where the list's paths begin, --skip-missing does without"});
    }
    if (miscounted_.count > 0) {
      judge(
          {.where = list_.name,
           .expected = "as many frames in its folders as it says",
           .got = fmt::format("{} with other numbers: {}", miscounted_.count, miscounted_.text()),
           .hint = "A list of \"path label\" takes folders as they are, --skip-missing does without these"});
    }
    for (const auto& [path, reason] : skipped_) {
      if (options_.skipped) options_.skipped(path, reason);
    }
  }

  void judge(const Mismatch& m) const {
    if (!options_.skip_missing || items_.empty()) fail(ErrorKind::data, m);
    options_.warn(fmt::format("[{}] {}; left out", m.where, m.got));
  }

  const SourceOptions& options_;
  VideoList list_;
  fs::path root_;
  ListFinder finder_;
  std::vector<FileItem> items_;
  std::unordered_map<std::string, std::string> files_;  // found so far, and the list's path for each
  std::set<std::string> names_;
  Faults missing_, miscounted_;
  std::vector<std::pair<std::string, std::string>> skipped_;  // entries and reasons
};

}  // namespace

bool is_list_file(const fs::path& path) {
  std::error_code error;
  return is_list_name(path) && fs::is_regular_file(path, error);
}

bool is_list_spec(const std::string& spec) { return spec.starts_with(kHmdb51) || is_list_name(spec); }

OpenedList read_list_of(const SourceOptions& options) {
  const bool hmdb51 = options.spec.starts_with(kHmdb51);
  const Hmdb51Options split = hmdb51 ? parse_hmdb51_spec(options.spec) : Hmdb51Options{};
  const fs::path own_folder = hmdb51 ? split.folder : fs::path(options.spec).parent_path();
  const fs::path root =
      !options.data_root.empty() ? fs::path(options.data_root) : (own_folder.empty() ? "." : own_folder);
  std::error_code error;
  if (!fs::is_directory(root, error)) {
    fail(ErrorKind::data,
         {.where = "--data-root", .expected = "a folder", .got = root.string() + ", which is none"});
  }
  return {.list = hmdb51 ? read_hmdb51(split) : read_list(options.spec), .root = root};
}

SourcePtr open_list(const SourceOptions& options) {
  OpenedList opened = read_list_of(options);
  if (options.labelled) {
    const bool hmdb51 = options.spec.starts_with(kHmdb51);
    label_list(options, hmdb51 ? fs::path() : fs::path(options.spec).parent_path(), opened.list);
  }
  return ListOpener(options, std::move(opened.list), opened.root).open();
}

}  // namespace millrace
