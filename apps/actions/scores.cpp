#include "apps/actions/scores.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "core/files.h"
#include "data/csv.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{2} << 30;
constexpr size_t kNames = 2;  // fields before the scores
constexpr const char* kHeader = "video,label,<class names>";

class ScoresReader {
 public:
  ScoresReader(std::string_view text, const std::string& name) : csv_(text, name) { scores_.name = name; }

  Scores read() {
    std::vector<CsvField> row;
    if (!csv_.next(row)) {
      csv_.refuse({.text = {}, .line = 1, .column = 1},
                  {.expected = fmt::format("a header {}", kHeader), .got = "an empty file"});
    }
    read_header(row);
    const CsvField header = row.back();
    while (csv_.next(row)) read_row(row);
    if (scores_.rows.empty()) {
      csv_.refuse(header, {.expected = "a row for each video", .got = "a header alone"});
    }
    return std::move(scores_);
  }

 private:
  void read_header(const std::vector<CsvField>& row) {
    if (row[0].text != "video" || row.size() < 2 || row[1].text != "label") {
      const CsvField& field = row[0].text == "video" && row.size() > 1 ? row[1] : row[0];
      csv_.refuse(field, {.expected = fmt::format("a header {}", kHeader),
                          .got = shown(field.text),
                          .hint = row.size() == 1 ? "Fields are separated by commas" : ""});
    }
    if (row.size() == kNames) {
      csv_.refuse(row.back(), {.expected = "names of classes behind `video,label`", .got = "none"});
    }
    for (size_t k = kNames; k < row.size(); ++k) {
      const CsvField& field = row[k];
      if (field.text.empty()) csv_.refuse(field, {.expected = "a class's name", .got = "an empty field"});
      const auto [first, is_new] = columns_.emplace(field.text, k + 1);
      if (!is_new) {
        csv_.refuse(field, {.expected = "each class once",
                            .got = fmt::format("{}, which field {} has", shown(field.text), first->second)});
      }
      scores_.classes.push_back(field.text);
    }
  }

  void read_row(const std::vector<CsvField>& row) {
    const size_t fields = kNames + scores_.classes.size();
    if (row.size() != fields) {
      csv_.refuse(row.size() > fields ? row[fields] : row.back(),
                  {.expected = fmt::format("{} fields as the header has", fields),
                   .got = std::to_string(row.size()),
                   .hint = row.size() > fields ? "A name with a comma stands in quotes"
                                               : "A file that was cut off is to be made anew"});
    }
    if (row[0].text.empty()) csv_.refuse(row[0], {.expected = "a video's name", .got = "an empty field"});
    const auto [first, is_new] = videos_.emplace(row[0].text, row[0].line);
    if (!is_new) {
      csv_.refuse(row[0], {.expected = "each video once",
                           .got = fmt::format("{}, which line {} has", shown(row[0].text), first->second)});
    }
    if (!columns_.contains(row[1].text)) {
      csv_.refuse(row[1], {.expected = "a class of the header as label", .got = shown(row[1].text)});
    }
    Scores::Row result{.video = row[0].text, .label = row[1].text, .logits = {}};
    result.logits.reserve(scores_.classes.size());
    for (size_t k = kNames; k < fields; ++k) result.logits.push_back(number(row[k]));
    scores_.rows.push_back(std::move(result));
  }

  float number(const CsvField& field) const {
    std::string_view text = field.text;
    while (text.starts_with(' ')) text.remove_prefix(1);
    while (text.ends_with(' ')) text.remove_suffix(1);
    if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
    const char* const end = text.data() + text.size();
    float value = 0;
    auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc::result_out_of_range) {  // what is closer to 0 than a float can be is 0
      double wide = 0;
      const auto again = std::from_chars(text.data(), end, wide);
      stop = again.ptr;
      error = again.ec;
      value = std::fabs(wide) < 1 ? static_cast<float>(wide) : HUGE_VALF;
    }
    if (error == std::errc{} && stop == end && std::isfinite(value)) return value;
    csv_.refuse(field, {.expected = "a finite number", .got = shown(field.text)});
  }

  CsvReader csv_;
  Scores scores_;
  std::unordered_map<std::string, size_t> columns_;  // class to the field's number, from 1
  std::unordered_map<std::string, int64_t> videos_;  // to line
};

// What the reader refuses is not written.
void check(const Scores& scores) {
  const std::string where = scores.name.empty() ? "scores.csv" : scores.name;
  const auto refuse = [&](const std::string& expected, const std::string& got) {
    fail(ErrorKind::data, {where, expected, got, ""});
  };
  std::unordered_set<std::string> classes, videos;
  for (const std::string& name : scores.classes) {
    if (name.empty() || !classes.insert(name).second)
      refuse("classes of different names", shown(name) + " again");
  }
  if (classes.empty()) refuse("classes", "none");
  if (scores.rows.empty()) refuse("a row for each video", "none");
  for (const Scores::Row& row : scores.rows) {
    const std::string of = " of " + shown(row.video);
    if (row.video.empty() || !videos.insert(row.video).second) {
      refuse("videos of different names", shown(row.video) + " again");
    }
    if (!classes.contains(row.label)) refuse("a class as label" + of, shown(row.label));
    if (row.logits.size() != scores.classes.size()) {
      refuse(fmt::format("{} scores{}", scores.classes.size(), of), std::to_string(row.logits.size()));
    }
    for (const float v : row.logits) {
      if (!std::isfinite(v)) refuse("finite scores" + of, fmt::format("{}", v));
    }
  }
  for (const auto* names : {&classes, &videos}) {
    for (const std::string& name : *names) {
      if (name.find('\0') != std::string::npos) refuse("names without a NUL byte", shown(name));
    }
  }
}

}  // namespace

Scores parse_scores(std::string_view text, const std::string& name) {
  return ScoresReader(text, name).read();
}

Scores read_scores(const std::filesystem::path& path) {
  return parse_scores(read_file(path, kMaxFileBytes), path.string());
}

std::string scores_csv(const Scores& scores) {
  check(scores);
  std::string text = "video,label";
  for (const std::string& name : scores.classes) text += "," + csv_field(name);
  text += '\n';
  for (const Scores::Row& row : scores.rows) {
    text += csv_field(row.video) + "," + csv_field(row.label);
    for (const float v : row.logits) {
      char digits[32];
      const auto end = std::to_chars(digits, digits + sizeof digits, v).ptr;
      text += ',';
      text.append(digits, end);
    }
    text += '\n';
  }
  return text;
}

}  // namespace millrace
