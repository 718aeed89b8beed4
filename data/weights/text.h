// Words for errors about files that may hold anything.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

// A name from a file in quotes: short, one line, nothing that moves a terminal's cursor.
inline std::string in_quotes(std::string_view name) {
  std::string text = "'";
  for (const char c : name.substr(0, 100)) {
    const auto byte = static_cast<unsigned char>(c);
    text += byte < 32 || byte == 127 ? '?' : c;
  }
  return text + (name.size() > 100 ? "...'" : "'");
}

// "[64,3,3,3]"
inline std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? "," : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace millrace
