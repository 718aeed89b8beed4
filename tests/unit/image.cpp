#include "data/image.h"

#include <fmt/format.h>

#include <fstream>

#include "core/error.h"
#include "core/files.h"
#include "core/rng.h"
#include "temporary_folder.h"
#include "tests/catch.h"

using namespace millrace;
using Catch::Matchers::Contains;
using test::TemporaryFolder;

namespace {

Image pattern(Size size, int64_t channels = 3) {
  Image image;
  image.reshape(size, channels);
  for (int64_t i = 0; i < size.height; ++i) {
    for (int64_t j = 0; j < size.width; ++j) {
      for (int64_t c = 0; c < channels; ++c) {
        image.at(i, j)[c] = static_cast<uint8_t>((i * i * 7 + j * 29 + c * 83 + i * j * j * 3) % 256);
      }
    }
  }
  return image;
}

std::string as_text(const Image& image) { return {image.pixels.begin(), image.pixels.end()}; }

bool is_data_error(const std::string& bytes, std::string* message = nullptr) {
  try {
    decode_image(bytes, "picture");
  } catch (const Error& error) {
    if (message) *message = error.what();
    return error.kind() == ErrorKind::data;
  }
  return false;
}

// 8x8 baseline JPEG of one colour: B 20, G 120, R 220 (written by OpenCV 4.10 at quality 100).
const std::vector<uint8_t> kJpeg = {
    255, 216, 255, 224, 0, 16,  74, 70,  73,  70,  0,   1,  1, 0, 0,   1,   0,   1,   0,  0,  255, 219, 0,
    67,  0,   1,   1,   1, 1,   1,  1,   1,   1,   1,   1,  1, 1, 1,   1,   1,   1,   1,  1,  1,   1,   1,
    1,   1,   1,   1,   1, 1,   1,  1,   1,   1,   1,   1,  1, 1, 1,   1,   1,   1,   1,  1,  1,   1,   1,
    1,   1,   1,   1,   1, 1,   1,  1,   1,   1,   1,   1,  1, 1, 1,   1,   1,   1,   1,  1,  255, 219, 0,
    67,  1,   1,   1,   1, 1,   1,  1,   1,   1,   1,   1,  1, 1, 1,   1,   1,   1,   1,  1,  1,   1,   1,
    1,   1,   1,   1,   1, 1,   1,  1,   1,   1,   1,   1,  1, 1, 1,   1,   1,   1,   1,  1,  1,   1,   1,
    1,   1,   1,   1,   1, 1,   1,  1,   1,   1,   1,   1,  1, 1, 1,   1,   1,   1,   1,  1,  255, 192, 0,
    17,  8,   0,   8,   0, 8,   3,  1,   34,  0,   2,   17, 1, 3, 17,  1,   255, 196, 0,  21, 0,   1,   1,
    0,   0,   0,   0,   0, 0,   0,  0,   0,   0,   0,   0,  0, 0, 0,   7,   255, 196, 0,  20, 16,  1,   0,
    0,   0,   0,   0,   0, 0,   0,  0,   0,   0,   0,   0,  0, 0, 0,   255, 196, 0,   21, 1,  1,   1,   0,
    0,   0,   0,   0,   0, 0,   0,  0,   0,   0,   0,   0,  0, 9, 10,  255, 196, 0,   20, 17, 1,   0,   0,
    0,   0,   0,   0,   0, 0,   0,  0,   0,   0,   0,   0,  0, 0, 255, 218, 0,   12,  3,  1,  0,   2,   17,
    3,   17,  0,   63,  0, 168, 0,  158, 115, 160, 255, 217};

}  // namespace

TEST_CASE("bilinear resizing is OpenCV's, bit for bit") {
  struct Case {
    Size from, to;
    uint64_t hash;  // FNV-1a of cv2.resize(pattern, INTER_LINEAR), OpenCV 4.10
  };
  const Case cases[] = {
      {{240, 320}, {256, 340}, 0x5EC6C0CB6F97C79Au}, {{256, 224}, {224, 224}, 0xF96672CE240E0617u},
      {{192, 224}, {224, 224}, 0xF2F79BD07F43851Bu}, {{17, 23}, {64, 96}, 0x0BADC0046B7C2594u},
      {{97, 131}, {31, 40}, 0x814C6618B37BCE69u},    {{64, 64}, {32, 32}, 0xCD9791C56DE0E125u},
      {{1, 1}, {3, 5}, 0xE672B72C98A87CE8u},         {{2, 3}, {7, 4}, 0xDF8ED0C574493967u},
      {{64, 96}, {32, 48}, 0x7BF879612A670DA5u},     {{64, 96}, {32, 50}, 0x947F881E0EC96965u},
  };
  for (const Case& c : cases) {
    INFO(fmt::format("{}x{} to {}x{}", c.from.height, c.from.width, c.to.height, c.to.width));
    CHECK(hash_name(as_text(resize_bilinear(pattern(c.from), c.to))) == c.hash);
  }
}

TEST_CASE("resizing to the same size copies, and a size below one is refused") {
  const Image image = pattern({5, 7});
  CHECK(resize_bilinear(image, {5, 7}).pixels == image.pixels);
  CHECK_THROWS_AS(resize_bilinear(image, {0, 7}), Error);
  CHECK_THROWS_AS(resize_area(image, {5, 0}), Error);
  CHECK_THROWS_AS(resize_bilinear(Image{}, {2, 2}), Error);
}

TEST_CASE("area resizing averages what a pixel covers") {
  Image stripes;  // 0, 255, 0, 255, ...: bilinear at a third would alias
  stripes.reshape({6, 12}, 1);
  for (size_t p = 0; p < stripes.pixels.size(); ++p) stripes.pixels[p] = p % 2 ? 255 : 0;
  const Image thirds = resize_area(stripes, {2, 4});
  CHECK(thirds.pixels == std::vector<uint8_t>{85, 170, 85, 170, 85, 170, 85, 170});
  // 5 to 2: weights 1, 1, 1/2 and 1/2, 1, 1.
  Image ramp;
  ramp.reshape({1, 5}, 1);
  ramp.pixels = {0, 10, 20, 30, 40};
  CHECK(resize_area(ramp, {1, 2}).pixels == std::vector<uint8_t>{8, 32});
  // Shrinks one axis, enlarges the other.
  CHECK(resize_area(ramp, {3, 1}).pixels == std::vector<uint8_t>{20, 20, 20});
  CHECK(resize_area(ramp, {1, 5}).pixels == ramp.pixels);
}

TEST_CASE("crop and mirror") {
  const Image image = pattern({6, 5});
  const Image cut = crop(image, {.top = 2, .left = 1, .size = {3, 4}});
  REQUIRE(cut.size() == Size{3, 4});
  CHECK(std::equal(cut.at(2, 3), cut.at(2, 3) + 3, image.at(4, 4)));
  CHECK_THROWS_AS(crop(image, {.top = 4, .left = 0, .size = {3, 4}}), Error);
  CHECK_THROWS_AS(crop(image, {.top = -1, .left = 0, .size = {3, 4}}), Error);
  CHECK_THROWS_AS(crop(image, {.top = 0, .left = 0, .size = {0, 4}}), Error);
  Image turned = image;
  mirror(turned);
  CHECK(std::equal(turned.at(3, 0), turned.at(3, 0) + 3, image.at(3, 4)));
  CHECK(std::equal(turned.at(3, 2), turned.at(3, 2) + 3, image.at(3, 2)));
  mirror(turned);
  CHECK(turned.pixels == image.pixels);
  Image narrow = pattern({3, 1});
  mirror(narrow);
  CHECK(narrow.pixels == pattern({3, 1}).pixels);
}

TEST_CASE("a PNG comes back as it was written") {
  const TemporaryFolder folder;
  for (const Size size : {Size{1, 1}, Size{7, 13}, Size{64, 33}}) {
    const std::string path = folder / fmt::format("{}x{}.png", size.height, size.width);
    write_png(path, pattern(size));
    const Image back = read_image(path);
    CHECK(back.size() == size);
    CHECK(back.pixels == pattern(size).pixels);
  }
  write_png(folder / "gray.png", pattern({4, 5}, 1));
  const Image gray = read_image(folder / "gray.png");
  CHECK(gray.channels == 3);
  CHECK(gray.at(3, 2)[0] == pattern({4, 5}, 1).at(3, 2)[0]);
  CHECK(gray.at(3, 2)[2] == gray.at(3, 2)[0]);
  CHECK_THROWS_AS(write_png(folder / "two.png", pattern({4, 5}, 2)), Error);
}

TEST_CASE("a PNG's data may begin with empty chunks") {
  const TemporaryFolder folder;
  write_png(folder / "a.png", pattern({9, 11}));
  std::string png = read_file(folder / "a.png", 1 << 20);
  for (int k = 0; k < 2; ++k) {
    png.insert(33, std::string("\0\0\0\0IDAT\x35\xaf\x06\x1e", 12));
    CHECK(decode_image(png, "a.png").pixels == pattern({9, 11}).pixels);
  }
  CHECK(is_data_error(png.substr(0, 45)));  // and nothing else
}

TEST_CASE("channels are B, G, R whatever the format") {
  const Image ppm = decode_image(std::string("P6\n1 2\n255\n\xDC\x78\x14\x01\x02\x03", 17), "ppm");
  REQUIRE(ppm.size() == Size{2, 1});
  CHECK(ppm.pixels == std::vector<uint8_t>{0x14, 0x78, 0xDC, 3, 2, 1});
  const Image jpeg = decode_image({reinterpret_cast<const char*>(kJpeg.data()), kJpeg.size()}, "jpeg");
  REQUIRE(jpeg.size() == Size{8, 8});
  CHECK(std::abs(jpeg.at(4, 4)[0] - 20) <= 1);
  CHECK(std::abs(jpeg.at(4, 4)[1] - 120) <= 1);
  CHECK(std::abs(jpeg.at(4, 4)[2] - 220) <= 1);
}

TEST_CASE("truncated images are errors at every length") {
  const TemporaryFolder folder;
  write_png(folder / "a.png", pattern({9, 11}));
  const std::string png = read_file(folder / "a.png", 1 << 20);
  const std::string jpeg(kJpeg.begin(), kJpeg.end());
  std::string ppm = "P6\n9 11\n255\n" + as_text(pattern({11, 9}));
  REQUIRE(decode_image(png, "whole").size() == Size{9, 11});
  REQUIRE(decode_image(ppm, "whole").size() == Size{11, 9});
  // The last 12 bytes of a PNG are its end mark, the last 2 of a JPEG too: a reader may do without.
  for (size_t length = 0; length < png.size() - 16; ++length) CHECK(is_data_error(png.substr(0, length)));
  for (size_t length = 0; length < jpeg.size() - 4; ++length) CHECK(is_data_error(jpeg.substr(0, length)));
  for (size_t length = 0; length + 12 < ppm.size(); ++length) CHECK(is_data_error(ppm.substr(0, length)));
}

TEST_CASE("claimed sizes are checked before memory is taken") {
  std::string message;
  CHECK(is_data_error("P6\n99999 99999\n255\nabc", &message));
  CHECK(is_data_error("P5\n16000 16000\n255\nabc", &message));
  CHECK_THAT(message, Contains("picture"));
  // A PNG header for 16000x16000 RGB and nothing behind it.
  const std::string png("\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\x3E\x80\0\0\x3E\x80\x08\x02\0\0\0\0\0\0\0", 33);
  CHECK(is_data_error(png, &message));
  CHECK_THAT(message, Contains("16000x16000"));
}

TEST_CASE("a PNG that cannot be read is an error in printable words, with a reason of its own") {
  const std::string head("\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\0\x02\0\0\0\x02\x08\x02\0\0\0\0\0\0\0", 33);
  std::string message;
  CHECK(is_data_error(head + std::string("\0\0\0\0\x1b[2K\0\0\0\0", 12), &message));
  CHECK_THAT(message, Contains("?[2K"));
  // A last chunk so short that its checksum is missing claims as much as any.
  CHECK(is_data_error(head + std::string("\x80\0\0\0IDATabc", 11), &message));
  CHECK_THAT(message, Contains("2147483648 bytes at byte 33"));
  CHECK(is_data_error(head + std::string("\x52\0\0\0IDAT", 8), &message));
  CHECK_THAT(message, Contains("1375731712 bytes at byte 33"));
  // 2 GB were taken for this chunk of nothing.
  CHECK(is_data_error(head + std::string("\x7f\xff\xff\xffIDATabcdefgh", 16), &message));
  CHECK_THAT(message, Contains("2147483647 bytes at byte 33"));
}

TEST_CASE("what is no image says so") {
  std::string message;
  CHECK(is_data_error("", &message));
  CHECK_THAT(message, Contains("empty"));
  CHECK(is_data_error("hello, this is text", &message));
  CHECK_THAT(message, Contains("JPEG"));
  const TemporaryFolder folder;
  CHECK_THROWS_AS(read_image(folder / "missing.png"), Error);
}
