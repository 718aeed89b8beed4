#include "data/pnm.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace millrace {
namespace {

constexpr int64_t kMaxSample = 65535;

bool is_white(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// The numbers of a header, one after another.
class Header {
 public:
  Header(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  int64_t number(const char* what) {
    skip_white_and_comments();
    const size_t begin = at_;
    int64_t value = 0;
    for (; at_ < bytes_.size() && bytes_[at_] >= '0' && bytes_[at_] <= '9'; ++at_)
      value = std::min<int64_t>(value * 10 + (bytes_[at_] - '0'), INT32_MAX);
    if (at_ == begin || at_ == bytes_.size()) refuse(what, at_ == bytes_.size() ? "the end" : "no number");
    return value;
  }

  // What follows the one white space behind the last number.
  std::string_view samples() {
    if (!is_white(bytes_[at_])) refuse("white space behind the largest sample", "something else");
    return bytes_.substr(at_ + 1);
  }

 private:
  void skip_white_and_comments() {
    for (; at_ < bytes_.size() && (is_white(bytes_[at_]) || bytes_[at_] == '#'); ++at_) {
      if (bytes_[at_] == '#') at_ = std::min(bytes_.find_first_of("\r\n", at_), bytes_.size() - 1);
    }
  }
  [[noreturn]] void refuse(const std::string& expected, const std::string& got) const {
    fail(ErrorKind::data, {.where = name_, .expected = expected + " in its header", .got = got});
  }

  std::string_view bytes_;
  const std::string& name_;
  size_t at_ = 2;  // behind "P5" or "P6"
};

// To 8 bits, for each possible sample.
std::vector<uint8_t> table_of(int64_t largest) {
  std::vector<uint8_t> table(largest > 255 ? kMaxSample + 1 : 256);
  for (int64_t v = 0; v < static_cast<int64_t>(table.size()); ++v) {
    const int64_t scaled =
        largest == kMaxSample ? v >> 8 : (std::min(v, largest) * 255 + largest / 2) / largest;
    table[static_cast<size_t>(v)] = static_cast<uint8_t>(scaled);
  }
  return table;
}

}  // namespace

Image decode_pnm(std::string_view bytes, const std::string& name, int64_t max_pixels) {
  Header header(bytes, name);
  const int64_t width = header.number("a width"), height = header.number("a height"),
                largest = header.number("a largest sample");
  const auto refuse = [&](const std::string& expected, const std::string& got) {
    fail(ErrorKind::data, {.where = name, .expected = expected, .got = got});
  };
  if (width < 1 || height < 1 || width > max_pixels / height)
    refuse(fmt::format("an image of 1 to {} pixels", max_pixels), fmt::format("{}x{}", width, height));
  if (largest < 1 || largest > kMaxSample) refuse("a largest sample of 1 to 65535", std::to_string(largest));
  const std::string_view samples = header.samples();
  const int64_t channels = bytes[1] == '6' ? 3 : 1, wide = largest > 255 ? 2 : 1;
  const int64_t needed = width * height * channels * wide;
  if (static_cast<int64_t>(samples.size()) < needed)
    refuse(fmt::format("{} bytes for its {}x{} pixels", needed, width, height),
           fmt::format("{} bytes", samples.size()));

  const std::vector<uint8_t> table = table_of(largest);
  const auto* at = reinterpret_cast<const uint8_t*>(samples.data());
  const auto next = [&] {
    const size_t sample = wide == 2 ? static_cast<size_t>(at[0] << 8 | at[1]) : at[0];
    at += wide;
    return table[sample];
  };
  Image image;
  image.reshape({height, width}, 3);
  for (size_t p = 0; p < image.pixels.size(); p += 3) {
    uint8_t* bgr = &image.pixels[p];
    bgr[2] = next();
    bgr[1] = channels == 3 ? next() : bgr[2];
    bgr[0] = channels == 3 ? next() : bgr[2];
  }
  return image;
}

}  // namespace millrace
