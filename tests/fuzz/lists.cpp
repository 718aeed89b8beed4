// Lists of videos, names of classes and HMDB51's splits. An input is a list, and behind a line of four =
// names of classes. A list that is taken comes back when it is written.
#include "data/lists.h"

#include <cstdint>
#include <set>

#include "tests/fuzz/support.h"

using namespace millrace;
using fuzz::accepts;
using fuzz::require;

namespace {

std::string written(const VideoList& list) {
  std::string text = "\n";  // so that no path begins the file, where a byte order mark is skipped
  for (const ListEntry& entry : list.entries) {
    text += entry.path;
    if (entry.frames) text += " " + std::to_string(*entry.frames);
    if (entry.label) text += " " + std::to_string(*entry.label);
    text += "\r\n";
  }
  return text;
}

void check(const VideoList& list) {
  require(!list.entries.empty(), "a list has entries");
  std::set<std::string> paths;
  for (const ListEntry& entry : list.entries) {
    require(!entry.path.empty() && paths.insert(entry.path).second, "a path is there, and no path twice");
    require(!entry.label || *entry.label >= 0, "a label is at least 0");
    require(!entry.frames || *entry.frames >= 1, "a number of frames is at least 1");
    require(entry.label.has_value() == list.entries.front().label.has_value(),
            "all lines have labels or none");
  }
  const VideoList again = parse_list(written(list), list.name, list.columns);
  require(again.entries.size() == list.entries.size(), "all entries come back");
  for (size_t k = 0; k < list.entries.size(); ++k) {
    const ListEntry &a = list.entries[k], &b = again.entries[k];
    require(a.path == b.path && a.frames == b.frames && a.label == b.label, "an entry comes back");
  }
}

void number(VideoList list, const LabelOptions& options) {
  if (!accepts([&] { number_labels(list, options); })) return;
  const auto classes = static_cast<int64_t>(list.classes.size());
  for (const ListEntry& entry : list.entries) {
    require(entry.label && *entry.label >= 0, "a numbered list has labels from 0");
    require(classes == 0 || *entry.label < classes, "a label has a class");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size), mark = "\n====\n";
  const size_t end = std::min(bytes.find(mark), bytes.size());
  const std::string_view list_text = bytes.substr(0, end);
  ClassNames classes;
  const bool named = end < bytes.size() && accepts([&] {
                       classes = parse_class_names(bytes.substr(end + mark.size()), "fuzz-classes.txt");
                     });
  for (const ListColumns columns :
       {ListColumns::automatic, ListColumns::path, ListColumns::path_label, ListColumns::path_frames_label}) {
    VideoList list;
    if (!accepts([&] { list = parse_list(list_text, "fuzz.txt", columns); })) continue;
    check(list);
    for (const LabelBase base : {LabelBase::automatic, LabelBase::zero, LabelBase::one}) {
      number(list, {.classes = nullptr, .base = base});
      if (named) number(list, {.classes = &classes, .base = base});
    }
  }
  accepts([&] { parse_hmdb51(list_text, "brush_hair_test_split1.txt"); });
  accepts([&] { parse_class_names(list_text, "fuzz-classes.txt"); });
  return 0;
}
