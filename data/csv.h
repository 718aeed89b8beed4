// Comma separated values as RFC 4180 has them: fields may stand in quotes, in which a quote is doubled and
// commas and line ends are text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct CsvRow {
  std::vector<std::string> fields;
  int64_t line = 0;  // where it begins, from 1
};

// Rows may end in LF or CRLF, the last one in nothing; empty lines and a byte order mark are skipped. Errors
// (data, [name:line]): a quote inside of a field without quotes, text behind a closing quote, a quote that is
// not closed, rows of different numbers of fields.
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name);

}  // namespace millrace
