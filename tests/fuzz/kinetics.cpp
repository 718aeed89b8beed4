// Kinetics' CSV, and CSV itself. A file that is taken comes back when it is written.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <set>

#include "data/csv.h"
#include "data/lists.h"
#include "tests/fuzz/support.h"

using namespace millrace;
using fuzz::accepts;
using fuzz::require;

namespace {

std::string written(const std::vector<CsvRow>& rows) {
  std::string text;
  for (const CsvRow& row : rows) {
    for (size_t k = 0; k < row.fields.size(); ++k) {
      text += k > 0 ? ",\"" : "\"";
      for (const char c : row.fields[k]) text += c == '"' ? std::string("\"\"") : std::string(1, c);
      text += '"';
    }
    text += "\r\n";
  }
  return text;
}

void check(const VideoList& list) {
  require(!list.entries.empty(), "a list has entries");
  std::set<std::string> paths;
  const auto classes = static_cast<int64_t>(list.classes.size());
  for (const ListEntry& entry : list.entries) {
    require(paths.insert(entry.path).second, "no path twice");
    require(entry.label.has_value() == (classes > 0), "labels have classes");
    require(!entry.label || (*entry.label >= 0 && *entry.label < classes), "a label has a class");
    for (const std::string& path : entry.other_paths) {
      const std::filesystem::path parts(path);
      require(parts.is_relative() && std::find(parts.begin(), parts.end(), "..") == parts.end(),
              "a path stays below the root");
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  std::vector<CsvRow> rows;
  if (accepts([&] { rows = parse_csv(text, "fuzz.csv"); })) {
    const std::vector<CsvRow> again = parse_csv(written(rows), "fuzz.csv");
    require(rows.size() == again.size(), "all rows come back");
    for (size_t k = 0; k < rows.size(); ++k) require(rows[k].fields == again[k].fields, "a row comes back");
  }
  VideoList list;
  if (accepts([&] { list = parse_kinetics(text, "fuzz.csv"); })) check(list);
  return 0;
}
