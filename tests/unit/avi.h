// Uncompressed AVI files, so that tests of video need no encoder and no download.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/image.h"

namespace millrace::test {

inline std::string u32(int64_t value) {
  std::string bytes(4, char{0});
  for (size_t k = 0; k < 4; ++k) bytes[k] = static_cast<char>(value >> (8 * k));
  return bytes;
}

inline std::string chunk(const std::string& tag, const std::string& body) {
  return tag + u32(static_cast<int64_t>(body.size())) + body + std::string(body.size() % 2, char{0});
}

// An AVI of uncompressed B G R frames (RIFF, one video stream, 25 frames a second), rows from the bottom up
// and padded to 4 bytes. `claimed` is the number of frames in its header.
inline std::string make_avi(const std::vector<Image>& frames, int64_t claimed) {
  const int64_t width = frames[0].width, height = frames[0].height;
  const int64_t pitch = (3 * width + 3) / 4 * 4;
  const std::string main_header = u32(40000) + u32(0) + u32(0) + u32(0x10) + u32(claimed) + u32(0) + u32(1) +
                                  u32(0) + u32(width) + u32(height) + std::string(16, char{0});
  const std::string stream_header = "vidsDIB " + u32(0) + u32(0) + u32(0) + u32(1) + u32(25) + u32(0) +
                                    u32(claimed) + u32(pitch * height) + u32(-1) + u32(0) +
                                    std::string(8, char{0});
  const std::string format = u32(40) + u32(width) + u32(height) + u32(1 | 24 << 16) + u32(0) +
                             u32(pitch * height) + std::string(16, char{0});
  const std::string stream = chunk("LIST", "strl" + chunk("strh", stream_header) + chunk("strf", format));
  std::string movie = "movi", index;
  for (const Image& frame : frames) {
    std::string rows;
    for (int64_t i = height - 1; i >= 0; --i) {
      rows.append(reinterpret_cast<const char*>(frame.at(i, 0)), static_cast<size_t>(3 * width));
      rows.append(static_cast<size_t>(pitch - 3 * width), char{0});
    }
    index +=
        "00db" + u32(0x10) + u32(static_cast<int64_t>(movie.size())) + u32(static_cast<int64_t>(rows.size()));
    movie += chunk("00db", rows);
  }
  return chunk("RIFF", "AVI " + chunk("LIST", "hdrl" + chunk("avih", main_header) + stream) +
                           chunk("LIST", movie) + chunk("idx1", index));
}

}  // namespace millrace::test
