#include "data/encode.h"

#include <cmath>

#include "core/error.h"
#include "core/files.h"
#include "temporary_folder.h"
#include "tests/catch.h"

using namespace millrace;

namespace {

Image pattern(Size size, int64_t channels = 3) {
  Image image;
  image.reshape(size, channels);
  for (size_t k = 0; k < image.pixels.size(); ++k)
    image.pixels[k] = static_cast<uint8_t>(128 + 100 * std::sin(.13 * static_cast<double>(k)));
  return image;
}

// What a reader makes of a gray image: three equal channels.
Image as_read(const Image& image) {
  if (image.channels == 3) return image;
  Image result;
  result.reshape(image.size(), 3);
  for (size_t k = 0; k < result.pixels.size(); ++k) result.pixels[k] = image.pixels[k / 3];
  return result;
}

}  // namespace

TEST_CASE("PNG and PNM read back as they were, gray and colour, at odd sizes") {
  for (const Size size : {Size{1, 1}, Size{3, 7}, Size{17, 2}}) {
    for (const int64_t channels : {1, 3}) {
      const Image image = pattern(size, channels);
      for (const std::string& bytes : {encode_png(image), encode_pnm(image)}) {
        const Image read = decode_image(bytes, "bytes");
        CHECK(read.size() == size);
        CHECK((read.pixels == as_read(image).pixels));
      }
    }
  }
}

TEST_CASE("a PPM is its header and then red, green, blue") {
  Image image;
  image.reshape({1, 2}, 3);
  image.pixels = {1, 2, 3, 4, 5, 6};
  CHECK(encode_pnm(image) == std::string("P6\n2 1\n255\n\3\2\1\6\5\4"));
  image.reshape({2, 1}, 1);
  CHECK(encode_pnm(image) == std::string("P5\n1 2\n255\n\1\2"));
}

TEST_CASE("write_png writes what encode_png gives") {
  const test::TemporaryFolder folder;
  const Image image = pattern({5, 9});
  write_png(folder / "a.png", image);
  CHECK((read_file(folder / "a.png", 1 << 20) == encode_png(image)));
}

TEST_CASE("JPEG comes back near, the nearer the higher its quality") {
  for (const int64_t channels : {1, 3}) {
    Image image = pattern({23, 31}, channels);
    for (int64_t i = 0; i < image.height; ++i) {
      for (int64_t k = 0; k < image.width * channels; ++k)
        image.at(i, 0)[k] = static_cast<uint8_t>(20 + 4 * i + 3 * (k / channels));
    }
    double errors[2] = {};
    for (const int quality : {30, 98}) {
      const Image read = decode_image(encode_jpeg(image, quality), "bytes");
      REQUIRE(read.size() == image.size());
      const Image expected = as_read(image);
      for (size_t k = 0; k < read.pixels.size(); ++k)
        errors[quality == 98] =
            std::max(errors[quality == 98], std::fabs(double{0} + read.pixels[k] - expected.pixels[k]));
    }
    CHECK(errors[1] <= 4);
    CHECK(errors[0] >= errors[1]);
  }
}

TEST_CASE("what is no image is not encoded") {
  Image two;
  two.reshape({4, 4}, 2);
  CHECK_THROWS_AS(encode_png(two), Error);
  CHECK_THROWS_AS(encode_pnm(two), Error);
  CHECK_THROWS_AS(encode_jpeg(two, 90), Error);
  const Image none;
  CHECK_THROWS_AS(encode_png(none), Error);
  CHECK_THROWS_AS(encode_pnm(none), Error);
  CHECK_THROWS_AS(encode_jpeg(none, 90), Error);
}
