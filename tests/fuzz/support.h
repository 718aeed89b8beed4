// What the fuzz targets share. A target feeds one reader with bytes from anywhere: it takes them, or refuses
// them with an Error of kind data in one line. Any other exception, and what the sanitizers see, is a fault.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/error.h"

namespace millrace::fuzz {

// Ends the program where a reader broke a promise, so that libFuzzer keeps the input.
inline void require(bool promise, const char* what) {
  if (promise) return;
  std::fprintf(stderr, "fuzz: broken promise: %s\n", what);
  std::abort();
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Whether `read` took its input.
template <class Read> bool accepts(Read&& read) {
  try {
    read();
    return true;
  } catch (const Error& e) {
    const std::string_view message = e.what();
    require(e.kind() == ErrorKind::data, "bad input is ErrorKind::data");
    require(message.find_first_of(std::string_view("\n\r\0\x1b", 4)) == message.npos,
            "a message is one line that a terminal can show");
    return false;
  }
}

// A file that lives in memory, for readers that take a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    const auto written = ::write(fd_, bytes.data(), bytes.size());
    if (written != static_cast<ssize_t>(bytes.size())) std::exit(1);  // not the reader's fault
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(fd_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace millrace::fuzz
