#include "data/encode.h"

#include <fmt/format.h>
#include <png.h>
#include <turbojpeg.h>

#include <memory>
#include <utility>

#include "core/error.h"
#include "core/files.h"

namespace millrace {
namespace {

void check_encodable(const Image& image, const std::string& where) {
  if (image.height < 1 || image.width < 1 || (image.channels != 1 && image.channels != 3)) {
    fail(ErrorKind::runtime, {.where = where,
                              .expected = "an image of 1 or 3 channels to write",
                              .got = fmt::format("{}x{}x{}", image.height, image.width, image.channels)});
  }
}

std::string png_bytes(const Image& image, const std::string& where) {
  check_encodable(image, where);
  png_image header = {};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(image.width);
  header.height = static_cast<png_uint_32>(image.height);
  header.format = image.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_BGR;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(header);
  std::string png(bytes, char{0});
  if (png_image_write_to_memory(&header, png.data(), &bytes, 0, image.pixels.data(), 0, nullptr) == 0) {
    fail(ErrorKind::runtime, {.where = where, .expected = "to write a PNG", .got = header.message});
  }
  png.resize(bytes);
  return png;
}

}  // namespace

std::string encode_png(const Image& image) { return png_bytes(image, "PNG"); }

void write_png(const std::string& path, const Image& image) {
  write_file_atomically(path, png_bytes(image, path));
}

std::string encode_pnm(const Image& image) {
  check_encodable(image, "PPM");
  std::string bytes =
      fmt::format("P{}\n{} {}\n255\n", image.channels == 1 ? 5 : 6, image.width, image.height);
  const size_t header = bytes.size();
  bytes.append(image.pixels.begin(), image.pixels.end());
  for (size_t k = header; image.channels == 3 && k < bytes.size(); k += 3) std::swap(bytes[k], bytes[k + 2]);
  return bytes;
}

std::string encode_jpeg(const Image& image, const JpegOptions& options) {
  check_encodable(image, "JPEG");
  const std::unique_ptr<void, int (*)(tjhandle)> encoder(tjInitCompress(), tjDestroy);
  if (!encoder)
    fail(ErrorKind::runtime, {.where = "JPEG", .expected = "an encoder", .got = tjGetErrorStr2(nullptr)});
  const bool gray = image.channels == 1;
  const int subsampling = gray ? TJSAMP_GRAY : options.halved_colours ? TJSAMP_420 : TJSAMP_444;
  const int width = static_cast<int>(image.width), height = static_cast<int>(image.height);
  unsigned long size = tjBufSize(width, height, subsampling);
  std::string bytes(size, char{0});
  auto* out = reinterpret_cast<unsigned char*>(bytes.data());
  if (tjCompress2(encoder.get(), image.pixels.data(), width, 0, height, gray ? TJPF_GRAY : TJPF_BGR, &out,
                  &size, subsampling, options.quality, TJFLAG_ACCURATEDCT | TJFLAG_NOREALLOC) != 0) {
    fail(ErrorKind::runtime,
         {.where = "JPEG", .expected = "to encode an image", .got = tjGetErrorStr2(encoder.get())});
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace millrace
