// JPEG, PPM, PGM and BMP: an image that is taken has all its pixels, the same ones each time.
#include "data/image.h"

#include <cstdint>

#include "tests/fuzz/support.h"

using namespace millrace;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size);
  if (bytes.starts_with("\x89PNG")) return -1;  // has a target of its own
  Image image;
  if (!fuzz::accepts([&] { image = decode_image(bytes, "fuzz"); })) return 0;
  require(image.height > 0 && image.width > 0 && image.channels == 3, "an image has pixels of 3 channels");
  const int64_t pixels = image.height * image.width;
  require(static_cast<int64_t>(image.pixels.size()) == 3 * pixels, "every pixel is there");
  require(pixels > 1 << 20 || decode_image(bytes, "fuzz").pixels == image.pixels, "decoding repeats");
  return 0;
}
