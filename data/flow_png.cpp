// KITTI's 16-bit flow PNG, by libpng. Its errors jump (setjmp): the functions that set the jump own nothing
// that would have to be destroyed, their callers do.
#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "data/flow_files.h"

namespace millrace {
namespace {

constexpr int64_t kMaxPixels = int64_t{1} << 28;
constexpr uint64_t kMaxFileBytes = (uint64_t{1} << 31) + (1 << 16);
constexpr size_t kBytesPerPixel = 6;
// Deflate gains at most a factor of 1032.
constexpr int64_t kMaxGain = 1032;
constexpr float kScale = 64;
constexpr float kZero = 32768;
constexpr std::string_view kPngMark = "\x89PNG\r\n\x1A\n";

[[noreturn]] void fail_png(const std::string& name, const std::string& expected, const std::string& got,
                           const std::string& hint = "") {
  fail(ErrorKind::data, {.where = name, .expected = expected, .got = got, .hint = hint});
}

// What libpng reads from and says: it outlives every jump.
struct Stream {
  std::string_view bytes;
  size_t at = 0;
  char message[128] = {};
};

void on_error(png_structp png, png_const_charp message) {
  auto* stream = static_cast<Stream*>(png_get_error_ptr(png));
  std::snprintf(stream->message, sizeof stream->message, "%s", message);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep out, size_t count) {
  auto* stream = static_cast<Stream*>(png_get_io_ptr(png));
  if (stream->bytes.size() - stream->at < count) png_error(png, "the file ends too early");
  std::memcpy(out, stream->bytes.data() + stream->at, count);
  stream->at += count;
}

struct Header {
  png_uint_32 width, height;
  int bits, colour;
};

class Reader {
 public:
  explicit Reader(Stream& stream)
      : stream_(stream), png_(png_create_read_struct(PNG_LIBPNG_VER_STRING, &stream, on_error, on_warning)) {
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ != nullptr) png_set_read_fn(png_, &stream_, read_bytes);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  bool made() const { return info_ != nullptr; }

  bool read_header(Header& header) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_user_limits(png_, static_cast<png_uint_32>(kMaxPixels), static_cast<png_uint_32>(kMaxPixels));
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_read_info(png_, info_);
    header = {png_get_image_width(png_, info_), png_get_image_height(png_, info_),
              png_get_bit_depth(png_, info_), png_get_color_type(png_, info_)};
    return true;
  }

  bool read_rows(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);
    return true;
  }

 private:
  Stream& stream_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

std::string kind_of(const Header& h) {
  const char* colour = h.colour == PNG_COLOR_TYPE_GRAY         ? "gray"
                       : h.colour == PNG_COLOR_TYPE_PALETTE    ? "palette"
                       : h.colour == PNG_COLOR_TYPE_GRAY_ALPHA ? "gray with alpha"
                       : h.colour == PNG_COLOR_TYPE_RGB_ALPHA  ? "RGB with alpha"
                                                               : "RGB";
  return fmt::format("{}-bit {}", h.bits, colour);
}

void check_header(const Header& h, size_t file_bytes, const std::string& name) {
  const int64_t width = h.width, height = h.height;
  if (h.bits != 16 || h.colour != PNG_COLOR_TYPE_RGB) {
    fail_png(name, "KITTI's flow PNG, 16-bit RGB", kind_of(h),
             h.bits == 8 ? "Pictures of flow in colours do not hold its values" : "");
  }
  if (width < 1 || height < 1 || width > kMaxPixels / height) {
    fail_png(name, fmt::format("flow of 1 to {} pixels", kMaxPixels), fmt::format("{}x{}", width, height));
  }
  if (width * height * static_cast<int64_t>(kBytesPerPixel) / kMaxGain > static_cast<int64_t>(file_bytes)) {
    fail_png(name, "no more pixels than its bytes can hold",
             fmt::format("{}x{} pixels from {} bytes", width, height, file_bytes));
  }
}

// Rows as libpng wants them, over one block of memory.
std::vector<png_bytep> rows_of(std::vector<uint8_t>& samples, Size size) {
  std::vector<png_bytep> rows;
  for (int64_t i = 0; i < size.height; ++i)
    rows.push_back(samples.data() + static_cast<size_t>(i * size.width) * kBytesPerPixel);
  return rows;
}

int sample(const uint8_t* bytes) { return bytes[0] << 8 | bytes[1]; }  // PNG is big-endian

void put_sample(int value, uint8_t* bytes) {
  bytes[0] = static_cast<uint8_t>(value >> 8);
  bytes[1] = static_cast<uint8_t>(value & 255);
}

int to_sample(float v) {
  return static_cast<int>(std::clamp(std::floor(double{v} * kScale + kZero + .5), 0.0, 65535.0));
}

void write_bytes(png_structp png, png_bytep bytes, size_t count) {
  bool full = false;
  try {
    static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<const char*>(bytes), count);
  } catch (const std::bad_alloc&) {  // must not unwind through libpng's C
    full = true;
  }
  if (full) png_error(png, "out of memory");
}
void flush_bytes(png_structp) {}

class Writer {
 public:
  explicit Writer(Stream& stream)
      : png_(png_create_write_struct(PNG_LIBPNG_VER_STRING, &stream, on_error, on_warning)) {
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() { png_destroy_write_struct(&png_, &info_); }

  bool made() const { return info_ != nullptr; }

  bool write(Size size, png_bytepp rows, std::string& out) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_write_fn(png_, &out, write_bytes, flush_bytes);
    png_set_IHDR(png_, info_, static_cast<png_uint_32>(size.width), static_cast<png_uint_32>(size.height), 16,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png_, info_);
    png_write_image(png_, rows);
    png_write_end(png_, nullptr);
    return true;
  }

 private:
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

}  // namespace

Flow decode_kitti_png(std::string_view bytes, const std::string& name) {
  if (!bytes.starts_with(kPngMark))
    fail_png(name, "a PNG", bytes.empty() ? "an empty file" : "another beginning");
  Stream stream{.bytes = bytes};
  Reader reader(stream);
  if (!reader.made()) fail(ErrorKind::runtime, {.where = name, .expected = "a PNG decoder", .got = "none"});
  Header header{};
  if (!reader.read_header(header)) fail_png(name, "a PNG header", stream.message);
  check_header(header, bytes.size(), name);
  Flow flow;
  flow.reshape({header.height, header.width});
  std::vector<uint8_t> samples(flow.uv.size() / 2 * kBytesPerPixel);
  std::vector<png_bytep> rows = rows_of(samples, flow.size());
  if (!reader.read_rows(rows.data())) fail_png(name, "a whole PNG", stream.message);
  const uint8_t* rgb = samples.data();
  for (size_t k = 0; k < flow.uv.size(); k += 2, rgb += kBytesPerPixel) {
    const bool known = sample(rgb + 4) != 0;
    flow.uv[k] = known ? (static_cast<float>(sample(rgb)) - kZero) / kScale : kUnknownFlow;
    flow.uv[k + 1] = known ? (static_cast<float>(sample(rgb + 2)) - kZero) / kScale : kUnknownFlow;
  }
  return flow;
}

Flow read_kitti_png(const std::string& path) {
  return decode_kitti_png(read_file(path, kMaxFileBytes), path);
}

std::string encode_kitti_png(const Flow& flow) {
  if (flow.height < 1 || flow.width < 1) {
    fail(ErrorKind::runtime, {.where = "KITTI PNG",
                              .expected = "flow of at least 1x1 pixels to write",
                              .got = fmt::format("{}x{}", flow.width, flow.height)});
  }
  std::vector<uint8_t> samples(flow.uv.size() / 2 * kBytesPerPixel, uint8_t{0});
  uint8_t* rgb = samples.data();
  for (size_t k = 0; k < flow.uv.size(); k += 2, rgb += kBytesPerPixel) {
    if (!is_known(&flow.uv[k])) continue;
    put_sample(to_sample(flow.uv[k]), rgb);
    put_sample(to_sample(flow.uv[k + 1]), rgb + 2);
    put_sample(1, rgb + 4);
  }
  std::vector<png_bytep> rows = rows_of(samples, flow.size());
  std::string out;
  Stream stream;
  Writer writer(stream);
  if (!writer.made() || !writer.write(flow.size(), rows.data(), out)) {
    fail(ErrorKind::runtime, {.where = "KITTI PNG", .expected = "to write it", .got = stream.message});
  }
  return out;
}

void write_kitti_png(const std::string& path, const Flow& flow) {
  write_file_atomically(path, encode_kitti_png(flow));
}

Flow decode_flow(std::string_view bytes, const std::string& name) {
  if (bytes.starts_with(kPngMark)) return decode_kitti_png(bytes, name);
  if (bytes.starts_with("PIEH")) return decode_flo(bytes, name);
  fail_png(name, "flow as .flo or as KITTI's 16-bit PNG",
           bytes.empty() ? "an empty file" : "a file that begins like neither");
}

Flow read_flow(const std::string& path) { return decode_flow(read_file(path, kMaxFileBytes), path); }

}  // namespace millrace
