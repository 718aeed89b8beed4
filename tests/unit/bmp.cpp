// Windows bitmaps by our own reader.
#include "data/bmp.h"

#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"

using namespace millrace;
using Catch::Matchers::Contains;

namespace {

using Pixels = std::vector<uint8_t>;

struct Bmp {
  int32_t width = 2, height = 2;
  int bits = 24;
  int colours = 0, compression = 0;
  Pixels palette = {};
  Pixels data = {};
};

void put(Pixels& out, int64_t value, int bytes) {
  for (int k = 0; k < bytes; ++k) out.push_back(static_cast<uint8_t>(value >> (8 * k)));
}

std::string file(const Bmp& b) {
  Pixels out = {'B', 'M'};
  const auto offset = static_cast<int64_t>(54 + b.palette.size());
  for (const int64_t value :
       {int64_t{0}, int64_t{0}, offset, int64_t{40}, int64_t{b.width}, int64_t{b.height}})
    put(out, value, 4);
  put(out, 1, 2);
  put(out, b.bits, 2);
  for (const int value : {b.compression, 0, 0, 0, b.colours, 0}) put(out, value, 4);
  out.insert(out.end(), b.palette.begin(), b.palette.end());
  out.insert(out.end(), b.data.begin(), b.data.end());
  return {out.begin(), out.end()};
}

Pixels pixels_of(const Bmp& b) { return decode_image(file(b), "x.bmp").pixels; }
std::string refusal(const std::string& bytes) {
  return test::message_of([&] { decode_image(bytes, "x.bmp"); });
}

const Pixels kTwoColours = {1, 2, 3, 0, 7, 8, 9, 0};

}  // namespace

TEST_CASE("rows are padded to 4 bytes, from the bottom or from the top") {
  const Pixels rows = {1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0};
  CHECK(pixels_of({.data = rows}) == Pixels{7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6});
  CHECK(pixels_of({.height = -2, .data = rows}) == Pixels{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  CHECK(pixels_of({.width = 1, .height = 1, .bits = 32, .data = {1, 2, 3, 4}}) == Pixels{1, 2, 3});
}

TEST_CASE("palettes of 1, 4 and 8 bits") {
  const Pixels expected = {7, 8, 9, 1, 2, 3, 7, 8, 9};
  CHECK(pixels_of({.width = 3, .height = 1, .bits = 1, .palette = kTwoColours, .data = {0xA0, 0, 0, 0}}) ==
        expected);
  CHECK(pixels_of({.width = 3,
                   .height = 1,
                   .bits = 4,
                   .colours = 2,
                   .palette = kTwoColours,
                   .data = {0x10, 0x10, 0, 0}}) == expected);
  CHECK(
      pixels_of(
          {.width = 3, .height = 1, .bits = 8, .colours = 2, .palette = kTwoColours, .data = {1, 0, 1, 0}}) ==
      expected);
}

TEST_CASE("a colour beyond the palette is refused") {
  // stb_image showed what lay on the stack.
  CHECK_THAT(
      refusal(file(
          {.width = 3, .height = 1, .bits = 8, .colours = 2, .palette = kTwoColours, .data = {1, 65, 1, 0}})),
      Contains("x.bmp") && Contains("palette of 2") && Contains("colour 65"));
}

TEST_CASE("BMP files cut at any byte, and sizes that cannot be, are refused") {
  const std::string whole = file(
      {.width = 3, .height = 1, .bits = 4, .colours = 2, .palette = kTwoColours, .data = {0x10, 0x10, 0, 0}});
  for (size_t n = 2; n < whole.size(); ++n) {
    INFO(n);
    CHECK_THAT(refusal(whole.substr(0, n)), Contains("[x.bmp] expected"));
  }
  CHECK_THAT(refusal(file({.width = 30000, .height = 30000})), Contains("30000x30000"));
  CHECK_THAT(refusal(file({.width = 1, .height = INT32_MIN})), Contains("1x2147483648"));
  CHECK_THAT(refusal(file({.width = 0, .height = 1})), Contains("0x1"));
  CHECK_THAT(refusal(file({.width = 10000, .height = 10000})), Contains("300000054 bytes for"));
  CHECK_THAT(refusal(file({.bits = 16, .data = Pixels(8)})), Contains("16 bits"));
  CHECK_THAT(refusal(file({.bits = 8, .compression = 1, .palette = kTwoColours})), Contains("compression 1"));
  CHECK_THAT(refusal(file({.bits = 8, .colours = 257, .palette = Pixels(1028), .data = Pixels(8)})),
             Contains("257"));
}
