#include "apps/actions/report_html.h"

#include <fmt/format.h>

#include <cstdint>

namespace millrace::report {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Bytes of the UTF-8 character at the beginning of `text` (Unicode 15, table 3-7); 0 where there is none.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t k) { return static_cast<uint8_t>(k < text.size() ? text[k] : 0); };
  const auto follows = [&](size_t k, uint8_t low = 0x80, uint8_t high = 0xbf) {
    return byte(k) >= low && byte(k) <= high;
  };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const bool second = follows(1, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf);
    return second && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const bool second = follows(1, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf);
    return second && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string result;
  result.reserve(text.size() + text.size() / 8);
  while (!text.empty()) {
    const size_t length = character_length(text);
    const char c = text[0];
    if (length == 0 ||
        (length == 1 && (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) && c != '\n' && c != '\t')) {
      result += kReplacement;
    } else if (length > 1) {
      result += text.substr(0, length);
    } else {
      switch (c) {
        case '&':
          result += "&amp;";
          break;
        case '<':
          result += "&lt;";
          break;
        case '>':
          result += "&gt;";
          break;
        case '"':
          result += "&quot;";
          break;
        case '\'':
          result += "&#39;";
          break;
        default:
          result += c;
      }
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return result;
}

std::string shortened(const std::string& text, size_t most) {
  size_t characters = 0, cut = 0;
  for (size_t at = 0; at < text.size(); ++characters) {
    if (characters + 1 == most) cut = at;
    const size_t length = character_length(std::string_view(text).substr(at));
    at += length == 0 ? 1 : length;
  }
  return characters <= most ? text : text.substr(0, cut) + "\xE2\x80\xA6";
}

std::string percent_text(double percent) { return fmt::format("{:.2f}\xC2\xA0%", percent); }

}  // namespace millrace::report
