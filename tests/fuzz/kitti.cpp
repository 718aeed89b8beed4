// KITTI's flow PNG. Checksums are put right first, since nearly no changed input would pass them otherwise.
// Flow that is taken comes back when it is written.
#include <cstdint>
#include <cstring>

#include "data/flow_files.h"
#include "tests/fuzz/support.h"

using namespace millrace;
using fuzz::require;

namespace {

constexpr size_t kSignature = 8, kChunk = 12;  // length, type and checksum of a chunk

uint32_t big_endian(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t k = 0; k < 4; ++k) value = value << 8 | static_cast<uint8_t>(bytes[at + k]);
  return value;
}

uint32_t crc32(std::string_view bytes) {
  uint32_t crc = ~uint32_t{0};
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

std::string with_checksums(std::string bytes) {
  for (size_t at = kSignature; bytes.size() >= kChunk && at <= bytes.size() - kChunk;) {
    const size_t length = big_endian(bytes, at);
    if (length > bytes.size() - kChunk - at) break;
    const uint32_t crc = crc32(std::string_view(bytes).substr(at + 4, length + 4));
    for (size_t k = 0; k < 4; ++k) bytes[at + 8 + length + k] = static_cast<char>(crc >> (24 - 8 * k));
    at += kChunk + length;
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes = with_checksums(std::string(fuzz::text_of(data, size)));
  Flow flow;
  if (!fuzz::accepts([&] { flow = decode_flow(bytes, "fuzz.png"); })) return 0;
  require(static_cast<int64_t>(flow.uv.size()) == 2 * flow.height * flow.width, "every pixel has a vector");
  if (bytes[0] == 'P' || flow.uv.size() > 4096) return 0;
  const Flow again = decode_kitti_png(encode_kitti_png(flow), "copy.png");
  require(again.size() == flow.size() &&
              std::memcmp(again.uv.data(), flow.uv.data(), flow.uv.size() * sizeof(float)) == 0,
          "flow comes back");
  return 0;
}
