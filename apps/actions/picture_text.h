// Words and filled areas in pictures for people: timelines and strips carry their names and numbers.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "data/image.h"

namespace millrace {

using Colour = std::array<uint8_t, 3>;  // B, G, R

constexpr Colour kWhite = {255, 255, 255}, kInk = {40, 40, 40}, kFaint = {150, 150, 150};

// A letter is 5 x 8 pixels in a cell 6 wide, times `scale`. Letters of western Europe lose their accents;
// others beyond ASCII are drawn as a box each.
struct TextStyle {
  int64_t scale = 2;
  Colour colour = kInk;
};
struct PicturePoint {
  int64_t top = 0, left = 0;
};

Image blank_picture(Size size, Colour colour = kWhite);
// What lies outside of the picture is left out.
void draw_text(Image& picture, PicturePoint at, std::string_view text, const TextStyle& style = {});
void fill_area(Image& picture, const Window& area, Colour colour);
// `part` with its upper left corner at `at`; of 3 channels.
void place_picture(Image& picture, PicturePoint at, const Image& part);

int64_t text_width(std::string_view text, int64_t scale);  // pixels, of UTF-8
constexpr int64_t text_height(int64_t scale) { return 8 * scale; }
// At most `letters` of them; of a longer text the beginning and "..".
std::string shortened(std::string_view text, int64_t letters);
// Letters of UTF-8 text; a broken byte is a letter of its own.
int64_t letter_count(std::string_view text);

}  // namespace millrace
