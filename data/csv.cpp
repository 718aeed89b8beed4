#include "data/csv.h"

#include <fmt/format.h>

#include <utility>

#include "core/error.h"

namespace millrace {

CsvReader::CsvReader(std::string_view text, std::string name) : text_(text), name_(std::move(name)) {
  if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
}

bool CsvReader::next(std::vector<CsvField>& row) {
  while (at_ < text_.size() && at_line_end()) skip_line_end();
  if (at_ == text_.size()) return false;
  for (size_t count = 0;; ++at_) {  // over the comma
    if (row.size() == count) row.emplace_back();
    read_field(row[count++]);
    if (at_ < text_.size() && text_[at_] == ',') continue;
    row.resize(count);
    break;
  }
  if (at_ < text_.size()) skip_line_end();
  return true;
}

void CsvReader::refuse(const CsvField& where, const Found& found) const {
  fail(ErrorKind::data,
       {fmt::format("{}:{}:{}", name_, where.line, where.column), found.expected, found.got, found.hint});
}

CsvField CsvReader::here() const {
  return {.text = {}, .line = line_, .column = static_cast<int64_t>(at_ - line_begin_) + 1};
}

bool CsvReader::at_line_end() const { return text_[at_] == '\n' || text_.substr(at_, 2) == "\r\n"; }

void CsvReader::skip_line_end() {
  at_ += text_[at_] == '\n' ? 1 : 2;
  line_begin_ = at_;
  ++line_;
}

void CsvReader::read_field(CsvField& field) {
  field.line = here().line;
  field.column = here().column;
  field.text.clear();
  if (at_ < text_.size() && text_[at_] == '"') return read_quoted(field);
  const size_t begin = at_;
  while (at_ < text_.size() && text_[at_] != ',' && !at_line_end()) {
    switch (text_[at_]) {
      case '"':
        refuse(here(), {.expected = "quotes around a whole field",
                        .got = "one inside it",
                        .hint = "A field with a quote stands in quotes, and the quote in it is doubled"});
      case '\r':
        refuse(here(), {.expected = "lines that end in LF or CRLF", .got = "a CR alone"});
      case '\0':
        refuse(here(), {.expected = "text", .got = "a NUL byte"});
      default:
        ++at_;
    }
  }
  field.text = text_.substr(begin, at_ - begin);
}

void CsvReader::read_quoted(CsvField& field) {
  for (++at_; at_ < text_.size(); ++at_) {
    const char c = text_[at_];
    if (c == '"') {
      ++at_;
      if (at_ == text_.size() || text_[at_] == ',' || at_line_end()) return;
      if (text_[at_] != '"') {
        refuse(here(), {.expected = "a comma or a line's end behind a closing quote",
                        .got = shown(text_.substr(at_, 1)),
                        .hint = "A quote inside a field is doubled"});
      }
    } else if (c == '\0') {
      refuse(here(), {.expected = "text", .got = "a NUL byte"});
    } else if (c == '\n') {
      line_begin_ = at_ + 1;
      ++line_;
    }
    field.text += c;
  }
  refuse(field, {.expected = "a closing quote", .got = "the end of the file"});
}

std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name) {
  CsvReader reader(text, name);
  std::vector<CsvRow> rows;
  for (std::vector<CsvField> fields; reader.next(fields);) {
    CsvRow row{.fields = {}, .line = fields.front().line};
    for (CsvField& field : fields) row.fields.push_back(std::move(field.text));
    rows.push_back(std::move(row));
    const size_t wanted = rows.front().fields.size(), found = fields.size();
    if (found == wanted) continue;
    fail(ErrorKind::data,
         {fmt::format("{}:{}", name, rows.back().line),
          fmt::format("{} fields as in line {}", wanted, rows.front().line), std::to_string(found), ""});
  }
  return rows;
}

std::string csv_field(std::string_view text) {
  const bool blank_ends = !text.empty() && (text.front() == ' ' || text.back() == ' ');  // many readers trim
  if (!blank_ends && text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + '"';
}

std::string shown(std::string_view text) {
  constexpr size_t kMost = 80;
  std::string result = "\"";
  for (const char c : text.substr(0, kMost)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  return result + (text.size() > kMost ? "...\"" : "\"");
}

}  // namespace millrace
