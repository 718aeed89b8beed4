#include "data/csv.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace millrace {
namespace {

class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  std::vector<CsvRow> read() {
    std::vector<CsvRow> rows;
    while (!at_end()) {
      if (skip_line_end()) continue;
      rows.push_back(read_row());
      const size_t wanted = rows.front().fields.size(), found = rows.back().fields.size();
      if (found != wanted) {
        fail_at(rows.back().line, fmt::format("{} fields as in line {}", wanted, rows.front().line),
                std::to_string(found));
      }
    }
    return rows;
  }

 private:
  bool at_end() const { return place_ == text_.size(); }
  bool at(std::string_view what) const { return text_.substr(place_).starts_with(what); }
  bool at_line_end() const { return at_end() || at("\n") || at("\r\n"); }
  bool skip_line_end() {
    if (at_end() || !at_line_end()) return false;
    place_ += at("\n") ? 1 : 2;
    ++line_;
    return true;
  }

  CsvRow read_row() {
    CsvRow row{.fields = {}, .line = line_};
    for (;;) {
      row.fields.push_back(at("\"") ? read_quoted() : read_plain());
      if (!at(",")) break;
      ++place_;
    }
    if (!at_line_end()) fail_at(line_, "a comma or the line's end behind a closing quote", "more text");
    skip_line_end();
    return row;
  }

  std::string read_plain() {
    const size_t begin = place_;
    while (!at_line_end() && !at(",")) {
      if (at("\"")) fail_at(line_, "a field with a quote to stand in quotes", "a quote in the middle of one");
      ++place_;
    }
    return std::string(text_.substr(begin, place_ - begin));
  }

  std::string read_quoted() {
    const int64_t begin = line_;
    std::string field;
    for (++place_; !at_end(); ++place_) {
      if (at("\"\"")) {
        ++place_;
      } else if (at("\"")) {
        ++place_;
        return field;
      }
      line_ += text_[place_] == '\n';
      field += text_[place_];
    }
    fail_at(begin, "a closing quote", "the end of the file");
  }

  [[noreturn]] void fail_at(int64_t line, std::string expected, std::string got) const {
    fail(
        ErrorKind::data,
        {.where = fmt::format("{}:{}", name_, line), .expected = std::move(expected), .got = std::move(got)});
  }

  std::string_view text_;
  const std::string& name_;
  size_t place_ = 0;
  int64_t line_ = 1;
};

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  return CsvReader(text, name).read();
}

}  // namespace millrace
