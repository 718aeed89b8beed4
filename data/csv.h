// Comma separated values as RFC 4180 has them: fields may stand in quotes, in which a quote is doubled and
// commas and line ends are text. Lines end in LF or CRLF, the last one in nothing where it likes; empty lines
// and a byte order mark are skipped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct CsvField {
  std::string text;
  int64_t line = 0, column = 0;  // of its first byte, both from 1
};

// One row at a time, with the fields' places for messages.
class CsvReader {
 public:
  // `name` is what messages call the file. The text stays the caller's.
  CsvReader(std::string_view text, std::string name);

  // The next line that is not empty; false at the end. Errors (data): a quote inside a field without quotes,
  // one that is not closed or text behind it, a line end of CR alone, a NUL byte.
  bool next(std::vector<CsvField>& row);

  // Throws ErrorKind::data with [name:line:column].
  struct Found {
    std::string expected, got, hint = {};
  };
  [[noreturn]] void refuse(const CsvField& where, const Found& found) const;

 private:
  void read_field(CsvField& field);
  void read_quoted(CsvField& field);
  bool at_line_end() const;
  void skip_line_end();
  CsvField here() const;

  std::string_view text_;
  std::string name_;
  size_t at_ = 0;
  size_t line_begin_ = 0;
  int64_t line_ = 1;
};

struct CsvRow {
  std::vector<std::string> fields;
  int64_t line = 0;  // where it begins, from 1
};
// All rows. Errors (data): those of CsvReader, and rows of different numbers of fields.
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name);

// In quotes only where it must be.
std::string csv_field(std::string_view text);

// A name in a message: in quotes, cut where it is long, with \x1b for what a terminal must not see.
std::string shown(std::string_view text);

}  // namespace millrace
