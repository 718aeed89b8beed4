#include <fmt/format.h>
#include <turbojpeg.h>

#include <cstring>
#include <memory>

#include "core/error.h"
#include "core/files.h"
#include "data/bmp.h"
#include "data/image.h"
#include "data/pnm.h"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_ONLY_PNG
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace millrace {
namespace {

constexpr int64_t kMaxPixels = int64_t{1} << 28;
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;
// Deflate gains at most a factor of 1032, and a PNG pixel has at least one bit. JPEG stays far below.
constexpr int64_t kMaxPixelsPerByte = 1032 * 8;

const uint8_t* unsigned_data(std::string_view bytes) {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}

[[noreturn]] void fail_image(const std::string& name, const std::string& expected, const std::string& got) {
  fail(ErrorKind::data, {.where = name, .expected = expected, .got = got});
}

// Before anything is allocated for the pixels.
void check_claimed_size(int64_t width, int64_t height, size_t file_bytes, const std::string& name) {
  if (width < 1 || height < 1 || width > kMaxPixels / height) {
    fail_image(name, fmt::format("an image of 1 to {} pixels", kMaxPixels),
               fmt::format("{}x{}", width, height));
  }
  if (width * height / kMaxPixelsPerByte > static_cast<int64_t>(file_bytes)) {
    fail_image(name, "no more pixels than its bytes can hold",
               fmt::format("{}x{} pixels from {} bytes", width, height, file_bytes));
  }
}

void decode_jpeg(std::string_view bytes, const std::string& name, Image& image) {
  thread_local const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), tjDestroy);
  if (!decoder)
    fail(ErrorKind::runtime, {.where = name, .expected = "a JPEG decoder", .got = tjGetErrorStr2(nullptr)});
  int width = 0, height = 0, subsampling = 0, colorspace = 0;
  if (tjDecompressHeader3(decoder.get(), unsigned_data(bytes), bytes.size(), &width, &height, &subsampling,
                          &colorspace) != 0) {
    fail_image(name, "a JPEG header", tjGetErrorStr2(decoder.get()));
  }
  check_claimed_size(width, height, bytes.size(), name);
  image.reshape({height, width}, 3);
  // Warnings count as errors: a truncated file gives one, and gray for what is missing.
  if (tjDecompress2(decoder.get(), unsigned_data(bytes), bytes.size(), image.pixels.data(), width, 0, height,
                    TJPF_BGR, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS) != 0) {
    fail_image(name, "a whole JPEG image", tjGetErrorStr2(decoder.get()));
  }
}

// stb puts bytes of the file into it (an unknown chunk's name), and sometimes fails without one.
std::string reason_of_stb() {
  std::string reason = stbi_failure_reason() ? stbi_failure_reason() : "damaged or cut off";
  for (char& c : reason) c = c >= ' ' && c <= '~' ? c : '?';
  return reason;
}

uint32_t big_endian(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t k = 0; k < 4; ++k) value = value << 8 | unsigned_data(bytes)[at + k];
  return value;
}

// stb takes memory of the size that a chunk claims, twice over, before it looks how much there is. A chunk is
// its length, its name, its bytes and a checksum, which the last chunk may lack.
void check_chunks(std::string_view bytes, const std::string& name) {
  for (size_t at = 8; at + 8 <= bytes.size();) {
    const uint64_t length = big_endian(bytes, at);
    if (length > bytes.size() - at - 8)
      fail_image(name, fmt::format("PNG chunks within {} bytes", bytes.size()),
                 fmt::format("one of {} bytes at byte {}", length, at));
    at += 12 + length;
  }
}

// Where the data begins with an empty chunk, which it may, stb copies its nothing to a null pointer.
std::string without_chunks(std::string_view bytes, std::string_view begin) {
  std::string others(bytes.substr(0, 8));
  for (size_t at = 8; at < bytes.size();) {
    const size_t length = at + 8 <= bytes.size() ? 12 + size_t{big_endian(bytes, at)} : bytes.size() - at;
    const std::string_view chunk = bytes.substr(at, length);
    if (!chunk.starts_with(begin)) others += chunk;
    at += chunk.size();
  }
  return others;
}

// Of the first chunk, IHDR. stb calls a size that it finds too large an unknown type.
void check_png_size(std::string_view bytes, const std::string& name) {
  if (bytes.size() < 24 || bytes.substr(12, 4) != "IHDR")
    fail_image(name, "a PNG header", fmt::format("{} bytes that hold none", bytes.size()));
  check_claimed_size(big_endian(bytes, 16), big_endian(bytes, 20), bytes.size(), name);
}

Image decode_png(std::string_view bytes, const std::string& name) {
  check_png_size(bytes, name);
  check_chunks(bytes, name);
  std::string copy;
  if (constexpr std::string_view kEmpty("\0\0\0\0IDAT", 8); bytes.find(kEmpty) != bytes.npos)
    bytes = copy = without_chunks(bytes, kEmpty);
  const auto length = static_cast<int>(bytes.size());
  int width = 0, height = 0, channels = 0;
  stbi__g_failure_reason = nullptr;  // that of an earlier image
  if (stbi_info_from_memory(unsigned_data(bytes), length, &width, &height, &channels) == 0) {
    fail_image(name, "a PNG header", reason_of_stb());
  }
  check_claimed_size(width, height, bytes.size(), name);
  const std::unique_ptr<stbi_uc, void (*)(void*)> rgb(
      stbi_load_from_memory(unsigned_data(bytes), length, &width, &height, &channels, 3), stbi_image_free);
  if (!rgb) fail_image(name, "a whole PNG image", reason_of_stb());
  Image image;
  image.reshape({height, width}, 3);
  for (size_t p = 0; p < image.pixels.size(); p += 3) {
    image.pixels[p] = rgb.get()[p + 2];
    image.pixels[p + 1] = rgb.get()[p + 1];
    image.pixels[p + 2] = rgb.get()[p];
  }
  return image;
}

Image decode_other(std::string_view bytes, const std::string& name) {
  if (bytes.starts_with("P5") || bytes.starts_with("P6")) return decode_pnm(bytes, name, kMaxPixels);
  if (bytes.starts_with("BM")) return decode_bmp(bytes, name, kMaxPixels);
  const bool known = bytes.starts_with("\x89PNG");
  if (!known) fail_image(name, "a JPEG, PNG, PPM, PGM or BMP image", "a file that begins like none of them");
  return decode_png(bytes, name);
}

}  // namespace

void decode_image(std::string_view bytes, const std::string& name, Image& result) {
  if (bytes.empty()) fail_image(name, "an image", "an empty file");
  if (bytes.starts_with("\xFF\xD8\xFF")) {
    decode_jpeg(bytes, name, result);
    return;
  }
  result = decode_other(bytes, name);
}

Image decode_image(std::string_view bytes, const std::string& name) {
  Image result;
  decode_image(bytes, name, result);
  return result;
}

void read_image(const std::string& path, Image& result) {
  decode_image(read_file(path, kMaxFileBytes), path, result);
}

Image read_image(const std::string& path) {
  Image result;
  read_image(path, result);
  return result;
}

}  // namespace millrace
