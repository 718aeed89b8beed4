// A PNG that is taken has all its pixels, and comes back when it is written.
#include <cstdint>

#include "data/image.h"
#include "tests/fuzz/support.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using fuzz::require;

namespace {

// What takes seconds: over a million pixels that the bytes may hold, at up to 1032 * 8 pixels a byte. More of
// them is refused, which is quick.
bool is_slow(std::string_view bytes) {
  if (bytes.size() < 24) return false;
  const auto number_at = [&](size_t at) {
    int64_t value = 0;
    for (size_t k = 0; k < 4; ++k) value = value << 8 | static_cast<uint8_t>(bytes[at + k]);
    return value;
  };
  const double pixels = static_cast<double>(number_at(16)) * static_cast<double>(number_at(20));
  return pixels > 1e6 && pixels <= 1032 * 8 * static_cast<double>(bytes.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size);
  if (!bytes.starts_with("\x89PNG")) return -1;  // another format: not for this corpus
  if (is_slow(bytes)) return -1;
  Image image;
  if (!fuzz::accepts([&] { image = decode_image(bytes, "fuzz.png"); })) return 0;
  require(image.height > 0 && image.width > 0 && image.channels == 3, "an image has pixels of 3 channels");
  const int64_t pixels = image.height * image.width;
  require(static_cast<int64_t>(image.pixels.size()) == 3 * pixels, "every pixel is there");
  if (pixels > 4096) return 0;  // writing large ones would only take time
  static const test::TemporaryFolder folder;
  write_png(folder / "copy.png", image);
  require(read_image(folder / "copy.png").pixels == image.pixels, "a PNG comes back");
  return 0;
}
