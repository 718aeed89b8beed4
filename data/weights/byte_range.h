// Part of a file, read from front to back, never past its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/files.h"

namespace millrace {

class ByteRange {
 public:
  // Bytes [begin, end) of `file`, which must outlive this.
  ByteRange(const FileHandle& file, std::filesystem::path path, uint64_t begin, uint64_t end)
      : file_(file), path_(std::move(path)), at_(begin), end_(end) {}

  uint64_t at() const { return at_; }  // in the file
  uint64_t left() const { return end_ - at_; }
  const std::filesystem::path& path() const { return path_; }

  // Throws ErrorKind::data when fewer are left. `what` names the bytes: "a string of 12 bytes".
  void read(std::span<std::byte> out, const char* what);
  std::string read_text(uint64_t length, const char* what);
  uint8_t read_byte(const char* what);
  // 2, 4 or 8 bytes, little endian.
  template <class T> T read_number(const char* what) {
    T value{};
    read(std::as_writable_bytes(std::span(&value, 1)), what);
    return value;
  }
  void skip(uint64_t length, const char* what);
  // "file.pth, byte 123"
  std::string where() const;

 private:
  void require(uint64_t length, const char* what) const;

  const FileHandle& file_;
  std::filesystem::path path_;
  uint64_t at_, end_;
  std::vector<std::byte> buffer_;
  uint64_t buffer_at_ = 0;  // where in the file buffer_ begins
};

}  // namespace millrace
