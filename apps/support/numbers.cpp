#include "apps/support/numbers.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>

#include "core/error.h"

namespace millrace {
namespace {

template <class T> bool is_number(const std::string& text) {
  T value{};
  const char *begin = text.data() + text.starts_with('+'), *end = text.data() + text.size();
  const auto read = std::from_chars(begin, end, value);
  return read.ec == std::errc() && read.ptr == end && std::isfinite(static_cast<double>(value));
}

template <class T> void check(CLI::Option& option, const char* expected) {
  const std::string flag = option.get_name();
  option.check([flag, expected](const std::string& text) {
    if (!is_number<T>(text)) fail(ErrorKind::usage, {flag, expected, "'" + text + "'", ""});
    return std::string();
  });
}

}  // namespace

void check_numbers(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    if (type == "INT") check<int64_t>(*option, "a whole number");
    if (type == "UINT") check<uint64_t>(*option, "a whole number of 0 or more");
    if (type == "FLOAT") check<double>(*option, "a number");
  }
}

}  // namespace millrace
