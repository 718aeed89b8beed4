#include "data/bmp.h"

#include <fmt/format.h>

#include <cstdlib>

#include "core/error.h"

namespace millrace {
namespace {

constexpr int64_t kFileHeader = 14, kInfoHeader = 40;
constexpr int64_t kNoCompression = 0, kMasks = 3;
constexpr int64_t kRedMask = 0xFF0000, kGreenMask = 0xFF00, kBlueMask = 0xFF;

class BmpReader {
 public:
  BmpReader(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Image read(int64_t max_pixels) {
    read_header(max_pixels);
    if (bits_ <= 8) read_palette();
    const int64_t stride = (width_ * bits_ + 31) / 32 * 4;
    if (length() < offset_ + stride * height_)
      refuse(fmt::format("{} bytes for {}x{} pixels of {} bits", offset_ + stride * height_, width_, height_,
                         bits_),
             fmt::format("{} bytes", length()));
    Image image;
    image.reshape({height_, width_}, 3);
    for (int64_t i = 0; i < height_; ++i) {
      read_row(offset_ + stride * (from_top_ ? i : height_ - 1 - i), image.at(i, 0));
    }
    return image;
  }

 private:
  [[noreturn]] void refuse(const std::string& expected, const std::string& got) const {
    fail(ErrorKind::data, {.where = name_, .expected = expected, .got = got});
  }
  int64_t length() const { return static_cast<int64_t>(bytes_.size()); }
  uint8_t byte(int64_t at) const { return static_cast<uint8_t>(bytes_[static_cast<size_t>(at)]); }
  // Little-endian.
  int64_t number(int64_t at, int count) const {
    int64_t value = 0;
    for (int k = count - 1; k >= 0; --k) value = value << 8 | byte(at + k);
    return value;
  }
  int64_t signed_number(int64_t at) const { return static_cast<int32_t>(number(at, 4)); }

  void read_header(int64_t max_pixels) {
    if (length() < kFileHeader + kInfoHeader)
      refuse(fmt::format("a BMP header of {} bytes", kFileHeader + kInfoHeader),
             fmt::format("{} bytes", length()));
    offset_ = number(10, 4);
    header_ = number(14, 4);
    width_ = signed_number(18);
    height_ = std::abs(signed_number(22));
    from_top_ = signed_number(22) < 0;
    bits_ = number(28, 2);
    if (header_ < kInfoHeader) refuse("a BMP header of 40 bytes or more", std::to_string(header_));
    if (width_ < 1 || height_ < 1 || width_ > max_pixels / height_)
      refuse(fmt::format("an image of 1 to {} pixels", max_pixels), fmt::format("{}x{}", width_, height_));
    const int64_t compression = number(30, 4);
    const bool known = bits_ == 1 || bits_ == 4 || bits_ == 8 || bits_ == 24 || bits_ == 32;
    if (!known || (compression != kNoCompression && !(compression == kMasks && bits_ == 32)))
      refuse("an uncompressed BMP of 1, 4, 8, 24 or 32 bits",
             fmt::format("{} bits, compression {}", bits_, compression));
    if (compression == kMasks) check_masks();
  }

  // They lie behind the 40 bytes, as a part of a longer header or by themselves.
  void check_masks() const {
    if (length() < kFileHeader + kInfoHeader + 12)
      refuse("a BMP with its masks", fmt::format("{} bytes", length()));
    const int64_t red = number(54, 4), green = number(58, 4), blue = number(62, 4);
    if (red != kRedMask || green != kGreenMask || blue != kBlueMask)
      refuse("a BMP with the masks ff0000, ff00 and ff",
             fmt::format("{:x}, {:x} and {:x}", red, green, blue));
  }

  void read_palette() {
    palette_ = kFileHeader + header_;
    const int64_t most = int64_t{1} << bits_, claimed = number(46, 4);
    colours_ = claimed == 0 ? most : claimed;
    if (colours_ > most || length() < palette_ + 4 * colours_)
      refuse(fmt::format("a palette of at most {} colours within the file", most), std::to_string(colours_));
  }

  void read_row(int64_t at, uint8_t* bgr) const {
    for (int64_t j = 0; j < width_; ++j, bgr += 3) {
      int64_t from = at + j * bits_ / 8;
      if (bits_ <= 8) {
        const int64_t colour = byte(from) >> (8 - bits_ - j * bits_ % 8) & ((1 << bits_) - 1);
        if (colour >= colours_)
          refuse(fmt::format("colours of a palette of {}", colours_), fmt::format("colour {}", colour));
        from = palette_ + 4 * colour;
      }
      for (int64_t c = 0; c < 3; ++c) bgr[c] = byte(from + c);
    }
  }

  std::string_view bytes_;
  const std::string& name_;
  int64_t offset_ = 0, header_ = 0, width_ = 0, height_ = 0, bits_ = 0, palette_ = 0, colours_ = 0;
  bool from_top_ = false;
};

}  // namespace

Image decode_bmp(std::string_view bytes, const std::string& name, int64_t max_pixels) {
  return BmpReader(bytes, name).read(max_pixels);
}

}  // namespace millrace
