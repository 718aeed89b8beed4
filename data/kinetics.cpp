// Kinetics' lists of clips of videos.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "data/csv.h"
#include "data/lists.h"

namespace millrace {
namespace {

constexpr double kMostSeconds = 999999;  // what 6 digits hold
constexpr const char* kExtensions[] = {".mp4", ".mkv", ".webm"};

// A row by its columns' names.
class Row {
 public:
  Row(const std::string& name, const CsvRow& header, const CsvRow& row)
      : name_(name), header_(header), row_(row) {}

  std::optional<std::string> find(std::string_view column) const {
    const auto& names = header_.fields;
    const auto found = std::find(names.begin(), names.end(), column);
    if (found == names.end()) return std::nullopt;
    const std::string& value = row_.fields[static_cast<size_t>(found - names.begin())];
    for (const char c : value) {
      if (static_cast<unsigned char>(c) < 0x20)
        fail_row(fmt::format("{} to be text", column),
                 fmt::format("the byte 0x{:02x}", static_cast<unsigned char>(c)));
    }
    return value;
  }
  // A part of a path, or text that is shown.
  std::string part(std::string_view column, std::string_view what) const {
    const std::string value = find(column).value_or("");
    if (value.empty() || value.size() > 255 || value.find('/') != value.npos || value == "." || value == "..")
      fail_row(std::string(what), shown(value));
    return value;
  }
  int64_t seconds(std::string_view column) const {
    const std::string value = find(column).value_or("");
    double seconds = -1;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
    if (error != std::errc() || end != value.data() + value.size() || !(seconds >= 0) ||
        seconds > kMostSeconds)
      fail_row(fmt::format("{}, seconds from 0 to {:.0f}", column, kMostSeconds), shown(value));
    return static_cast<int64_t>(seconds);
  }
  int64_t line() const { return row_.line; }

  [[noreturn]] void fail_row(std::string expected, std::string got) const {
    fail(ErrorKind::data, {.where = fmt::format("{}:{}", name_, row_.line),
                           .expected = std::move(expected),
                           .got = std::move(got)});
  }

 private:
  static std::string shown(const std::string& value) {
    constexpr size_t kMost = 80;
    return fmt::format("\"{}{}\"", value.substr(0, kMost), value.size() > kMost ? "..." : "");
  }

  const std::string& name_;
  const CsvRow& header_;
  const CsvRow& row_;
};

// Has the columns, each once?
void check_header(const CsvRow& header, const std::string& name) {
  for (const std::string_view column : {"youtube_id", "time_start", "time_end", "label", "split"}) {
    const auto count = std::count(header.fields.begin(), header.fields.end(), column);
    const bool may_be_missing = column == "label" || column == "split";
    if (count == 1 || (count == 0 && may_be_missing)) continue;
    fail(ErrorKind::data,
         {.where = fmt::format("{}:{}", name, header.line),
          .expected = fmt::format("Kinetics' header \"label,youtube_id,time_start,time_end,split\""),
          .got = fmt::format("\"{}\" {}", column, count == 0 ? "in no column" : "in more than one column"),
          .hint = "Lists of paths are .txt"});
  }
}

// The names that a clip goes by, the first as those who download it call it.
std::vector<std::string> paths_of(const std::string& label, const std::string& id, const std::string& clip) {
  std::vector<std::string> folders;
  if (!label.empty()) {
    std::string joined = label;
    std::replace(joined.begin(), joined.end(), ' ', '_');
    folders.push_back(label + "/");
    if (joined != label) folders.push_back(joined + "/");
  }
  folders.emplace_back();
  std::vector<std::string> paths;
  for (const std::string& stem : {clip, id}) {
    for (const std::string& folder : folders) {
      for (const char* extension : kExtensions) paths.push_back(folder + stem + extension);
    }
  }
  return paths;
}

struct LabelledClip {
  std::string label;
  int64_t line = 0;
};

}  // namespace

bool is_kinetics_name(const std::filesystem::path& path) { return path.extension() == ".csv"; }

VideoList parse_kinetics(std::string_view text, const std::string& name) {
  const std::vector<CsvRow> rows = parse_csv(text, name);
  if (rows.size() < 2) {
    fail(ErrorKind::data, {.where = name,
                           .expected = "Kinetics' header and at least one clip",
                           .got = rows.empty() ? "no line with text" : "one line"});
  }
  const CsvRow& header = rows.front();
  check_header(header, name);
  VideoList list{.name = name, .columns = ListColumns::kinetics, .entries = {}, .classes = {}};
  std::unordered_map<std::string, LabelledClip> known;
  std::map<std::string, int64_t> classes;
  std::set<std::string> splits;
  std::vector<std::string> labels;
  for (size_t k = 1; k < rows.size(); ++k) {
    const Row row(name, header, rows[k]);
    const std::string id = row.part("youtube_id", "a video's id");
    const std::string label = row.find("label") ? row.part("label", "the name of a class") : "";
    const std::string clip =
        fmt::format("{}_{:06}_{:06}", id, row.seconds("time_start"), row.seconds("time_end"));
    splits.insert(row.find("split").value_or(""));
    const auto [before, is_new] = known.try_emplace(clip, LabelledClip{label, row.line()});
    if (before->second.label != label) {
      row.fail_row(
          fmt::format("label \"{}\" of this clip as in line {}", before->second.label, before->second.line),
          fmt::format("\"{}\"", label));
    }
    if (!is_new) {
      ++list.repeated;
      continue;
    }
    std::vector<std::string> paths = paths_of(label, id, clip);
    ListEntry entry{.path = paths.front(), .frames = {}, .label = {}, .line = row.line()};
    entry.other_paths.assign(std::make_move_iterator(paths.begin() + 1),
                             std::make_move_iterator(paths.end()));
    list.entries.push_back(std::move(entry));
    if (label.empty()) continue;
    labels.push_back(label);
    classes[label] = 0;
  }
  for (auto& [label, number] : classes) {
    number = static_cast<int64_t>(list.classes.size());
    list.classes.push_back(label);
  }
  for (size_t k = 0; k < labels.size(); ++k) list.entries[k].label = classes.at(labels[k]);
  if (splits.size() > 1)
    list.warnings.push_back(fmt::format("[{}] has lines of {} splits; all are taken", name, splits.size()));
  return list;
}

}  // namespace millrace
