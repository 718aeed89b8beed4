// Images of 8-bit samples: reading, writing, and the three geometric operations that clips need.
// Everywhere in data/ three channels mean B, G, R in this order, as the papers' OpenCV code has it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct Size {
  int64_t height = 0;
  int64_t width = 0;
  bool operator==(const Size&) const = default;
};

// Rows from the top, pixels from the left, channels interleaved: pixels[(i * width + j) * channels + c].
struct Image {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 3;
  std::vector<uint8_t> pixels;

  Size size() const { return {height, width}; }
  // Keeps the memory it has when that is enough.
  void reshape(Size size, int64_t new_channels) {
    height = size.height;
    width = size.width;
    channels = new_channels;
    pixels.resize(static_cast<size_t>(height * width * channels));
  }
  const uint8_t* at(int64_t i, int64_t j) const { return pixels.data() + (i * width + j) * channels; }
  uint8_t* at(int64_t i, int64_t j) { return pixels.data() + (i * width + j) * channels; }
};

// A rectangle of an image in pixels, top left corner and size.
struct Window {
  int64_t top = 0;
  int64_t left = 0;
  Size size = {};
  bool operator==(const Window&) const = default;
};

// Reads .jpg (libjpeg-turbo, exact integer DCT as OpenCV's), .png, .ppm, .pgm and .bmp, told apart by their
// first bytes, never by the name. Always 3 channels: gray is repeated, transparency dropped, 16 bits cut
// to 8. Errors (data): missing, empty, truncated, of another kind, over 2^28 pixels, or claiming more pixels
// than the bytes of the file can hold.
Image read_image(const std::string& path);
void read_image(const std::string& path, Image& result);  // keeps the memory of `result` where that is enough

// The same from memory; `name` is what errors call it.
Image decode_image(std::string_view bytes, const std::string& name);
void decode_image(std::string_view bytes, const std::string& name, Image& result);

// Writes an 8-bit PNG of 1 or 3 channels, complete or not at all. Errors (runtime): the disk.
void write_png(const std::string& path, const Image& image);

// cv::resize(INTER_LINEAR) on 8-bit samples, bit for bit (OpenCV 4): half-pixel centres, weights rounded to
// 11 bits, no smoothing when shrinking, except an exact halving of both axes, which averages 2 x 2.
void resize_bilinear(const Image& image, Size size, Image& result);
Image resize_bilinear(const Image& image, Size size);
// Of that result only the part `window`, at the cost of that part. It must lie inside `size`.
struct ResizedPart {
  Size size = {};
  Window window = {};
};
void resize_bilinear(const Image& image, const ResizedPart& part, Image& result);

// Each result pixel is the mean over the rectangle of the image that it covers, as cv::resize(INTER_AREA):
// shrinks without aliasing. An axis that grows is interpolated instead.
Image resize_area(const Image& image, Size size);

// `window` must lie inside the image.
void crop(const Image& image, const Window& window, Image& result);
Image crop(const Image& image, const Window& window);

// Left and right exchanged, in place.
void mirror(Image& image);

}  // namespace millrace
