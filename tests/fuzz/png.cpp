// A PNG that is taken has all its pixels, and comes back when it is written.
#include <cstdint>

#include "data/image.h"
#include "tests/fuzz/support.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size);
  if (!bytes.starts_with("\x89PNG")) return -1;  // another format: not for this corpus
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
