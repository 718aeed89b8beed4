// Images as bytes of a file. Errors (runtime): an image of no pixels or of other than 1 or 3 channels; the
// encoder's own.
#pragma once

#include <string>

#include "data/image.h"

namespace millrace {

// Lossless.
std::string encode_png(const Image& image);
// Binary PGM (P5, 1 channel) or PPM (P6, 3 channels), lossless: "P6\n<width> <height>\n255\n", then R, G, B.
std::string encode_pnm(const Image& image);
// One channel becomes a gray JPEG.
struct JpegOptions {
  int quality = 95;             // from 1 to 100
  bool halved_colours = false;  // 4:2:0, as OpenCV and FFmpeg write it; else at full resolution (4:4:4)
};
std::string encode_jpeg(const Image& image, const JpegOptions& options);
inline std::string encode_jpeg(const Image& image, int quality) {
  return encode_jpeg(image, JpegOptions{.quality = quality});
}

}  // namespace millrace
