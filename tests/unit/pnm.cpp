// PGM and PPM by our own reader.
#include "data/pnm.h"

#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"

using namespace millrace;
using Catch::Matchers::Contains;

namespace {

using Pixels = std::vector<uint8_t>;

std::string text(const Pixels& bytes) { return {bytes.begin(), bytes.end()}; }

Pixels pixels_of(const std::string& bytes) { return decode_image(bytes, "x.ppm").pixels; }

std::string refusal(const std::string& bytes) {
  return test::message_of([&] { decode_image(bytes, "x.ppm"); });
}

}  // namespace

TEST_CASE("gray is repeated, colours are turned round") {
  CHECK(pixels_of("P5\n2 1\n255\nAb") == Pixels{'A', 'A', 'A', 'b', 'b', 'b'});
  CHECK(pixels_of("P6\n1 2\n255\nabcdef") == Pixels{'c', 'b', 'a', 'f', 'e', 'd'});
  CHECK(decode_image("P6\n1 2\n255\nabcdef", "x").size() == Size{2, 1});
  CHECK(pixels_of("P5\n1 1\n255\nA and more") == Pixels{'A', 'A', 'A'});
}

TEST_CASE("white space and comments of a header") {
  const Pixels two = {'A', 'A', 'A', 'b', 'b', 'b'};
  CHECK(pixels_of("P5 2 1 255 Ab") == two);
  CHECK(pixels_of("P5\r\n2\t1\r\n255\nAb") == two);
  CHECK(pixels_of("P5\n# made by hand\n2 # wide\n1\n#\n255\nAb") == two);
  // Exactly one white space, so that a sample may look like another.
  CHECK(pixels_of("P5\n2 1\n255\n\n#") == Pixels{'\n', '\n', '\n', '#', '#', '#'});
}

TEST_CASE("16 bits: the larger byte first, cut to 8") {
  // stb_image read beyond its buffer here, and gave other pixels.
  CHECK(pixels_of("P5\n2 1\n65535\n" + text({0x12, 0xFF, 0xFE, 0x00})) ==
        Pixels{0x12, 0x12, 0x12, 0xFE, 0xFE, 0xFE});
  CHECK(pixels_of("P6\n1 1\n65535\n" + text({1, 9, 2, 9, 3, 9})) == Pixels{3, 2, 1});
  CHECK(pixels_of("P5\n3 1\n1000\n" + text({0, 0, 0x01, 0xF4, 0xFF, 0xFF})) ==
        Pixels{0, 0, 0, 128, 128, 128, 255, 255, 255});
}

TEST_CASE("samples are scaled by the largest, and do not leave it") {
  CHECK(pixels_of("P5\n3 1\n1\n" + text({0, 1, 7})) == Pixels{0, 0, 0, 255, 255, 255, 255, 255, 255});
  CHECK(pixels_of("P5\n2 1\n100\n" + text({50, 100})) == Pixels{128, 128, 128, 255, 255, 255});
}

TEST_CASE("headers and lengths that cannot be are refused") {
  for (const char* bytes : {"P5", "P5\n", "P5\n2", "P5\n2 1", "P5\n2 1\n255", "P5\n# no end",
                            "P5\n2 x 255\nAb", "P5\n-2 1\n255\nAb", "P6\n2 1\n255x123456"}) {
    INFO(bytes);
    CHECK_THAT(refusal(bytes), Contains("x.ppm") && Contains("header"));
  }
  CHECK_THAT(refusal("P5\n2 1\n255\nA"), Contains("2 bytes for its 2x1 pixels, got 1 bytes"));
  CHECK_THAT(refusal("P6\n2 1\n256\n123456"), Contains("12 bytes"));
  CHECK_THAT(refusal("P5\n0 1\n255\nA"), Contains("0x1"));
  for (const char* largest : {"0", "65536", "99999999999999999999"}) {
    INFO(largest);
    CHECK_THAT(refusal("P5\n1 1\n" + std::string(largest) + "\nAb"), Contains("1 to 65535"));
  }
  for (const char* size : {"30000 30000", "65536 65536", "99999999999999999999 1", "2147483648 2147483648"}) {
    INFO(size);
    CHECK_THAT(refusal("P6\n" + std::string(size) + "\n255\nabc"), Contains("pixels"));
  }
}
