#include "data/weights/byte_range.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace millrace {

namespace {

constexpr uint64_t kBufferBytes = 1 << 16;

}  // namespace

std::string ByteRange::where() const { return fmt::format("{}, byte {}", path_.string(), at_); }

void ByteRange::require(uint64_t length, const char* what) const {
  if (length <= left()) return;
  fail(ErrorKind::data, {where(), fmt::format("{} of {} bytes", what, length),
                         fmt::format("{} bytes to its end", left()), "The file is cut off or broken"});
}

void ByteRange::read(std::span<std::byte> out, const char* what) {
  require(out.size(), what);
  while (!out.empty()) {
    if (at_ < buffer_at_ || at_ >= buffer_at_ + buffer_.size()) {
      buffer_.resize(std::min(kBufferBytes, left()));
      buffer_at_ = at_;
      buffer_.resize(read_at(file_, path_, at_, buffer_));
      if (buffer_.empty())
        fail(ErrorKind::data, {where(), what, "the end of the file", "It was cut while it was read"});
    }
    const uint64_t offset = at_ - buffer_at_;
    const size_t n = std::min<uint64_t>(out.size(), buffer_.size() - offset);
    std::memcpy(out.data(), buffer_.data() + offset, n);
    out = out.subspan(n);
    at_ += n;
  }
}

std::string ByteRange::read_text(uint64_t length, const char* what) {
  require(length, what);  // before the memory is asked for
  std::string text(length, '\0');
  read(std::as_writable_bytes(std::span(text)), what);
  return text;
}

uint8_t ByteRange::read_byte(const char* what) { return read_number<uint8_t>(what); }

void ByteRange::skip(uint64_t length, const char* what) {
  require(length, what);
  at_ += length;
}

}  // namespace millrace
