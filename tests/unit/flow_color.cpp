#include <fmt/format.h>

#include <array>

#include "data/flow.h"
#include "tests/catch.h"

using namespace millrace;

namespace {

Flow single(float u, float v) {
  Flow flow;
  flow.reshape({1, 1});
  flow.uv = {u, v};
  return flow;
}

using Bgr = std::array<int, 3>;
Bgr color(float u, float v, float radius) {
  const Image image = flow_to_color(single(u, v), radius);
  return {image.pixels[0], image.pixels[1], image.pixels[2]};
}

}  // namespace

// Expected values: the published colorcode's computeColor, worked through by hand. Its wheel begins at
// direction
// (-1, 0) reversed: atan2(-v, -u) / pi = -1, entry 0, pure red, is flow to the right.
TEST_CASE("directions have Middlebury's hues") {
  CHECK(color(1, 0, 1) == Bgr{0, 0, 255});
  // To the left: atan2(-0, 1) = -0, entry 27 of 55: 27 - 25 = 2 steps into cyan to blue, green 255 - 255 * 2
  // / 11 = 209.
  CHECK(color(-1, 0, 1) == Bgr{255, 209, 0});
  // Down: atan2(-1, 0) = -pi/2, entry 13.5 of red to yellow: green between 221 and 238.
  const Bgr down = color(0, 1, 1);
  CHECK(down[0] == 0);
  CHECK(std::abs(down[1] - 229) <= 1);
  CHECK(down[2] == 255);
  // Up: +pi/2, entry 40.5: 4.5 of 13 into blue to magenta: red between 78 and 98.
  const Bgr up = color(0, -1, 1);
  CHECK(up[0] == 255);
  CHECK(up[1] == 0);
  CHECK(std::abs(up[2] - 88) <= 1);
}

TEST_CASE("length is saturation, and what is too long is darkened") {
  CHECK(color(0, 0, 1) == Bgr{255, 255, 255});
  CHECK(color(0.5f, 0, 1) == Bgr{127, 127, 255});
  CHECK(color(2, 0, 1) == Bgr{0, 0, 191});
  CHECK(color(5, 0, 10) == color(0.5f, 0, 1));
}

TEST_CASE("without a radius the longest known vector is fully saturated") {
  Flow flow;
  flow.reshape({1, 3});
  flow.uv = {4, 0, 2, 0, kUnknownFlow, 0};
  const Image image = flow_to_color(flow);
  CHECK(std::vector<uint8_t>(image.pixels.begin(), image.pixels.begin() + 3) ==
        std::vector<uint8_t>{0, 0, 255});
  CHECK(std::vector<uint8_t>(image.pixels.begin() + 3, image.pixels.begin() + 6) ==
        std::vector<uint8_t>{127, 127, 255});
  CHECK(std::vector<uint8_t>(image.pixels.begin() + 6, image.pixels.end()) == std::vector<uint8_t>{0, 0, 0});
  CHECK(flow_to_color(single(0, 0)).pixels == std::vector<uint8_t>{255, 255, 255});
  CHECK(flow_to_color(single(kUnknownFlow, 0)).pixels == std::vector<uint8_t>{0, 0, 0});
}

TEST_CASE("the legend shows each direction's colour") {
  const Image wheel = flow_color_wheel(101);
  REQUIRE(wheel.size() == Size{101, 101});
  CHECK(wheel.at(0, 0)[2] == 255);  // outside: white
  CHECK(wheel.at(0, 0)[0] == 255);
  CHECK(wheel.at(50, 50)[0] == 255);
  CHECK(wheel.at(50, 99)[2] == 255);  // right: red
  CHECK(wheel.at(50, 99)[0] < 20);
  CHECK(wheel.at(50, 1)[0] == 255);  // left: blue with green
  CHECK(wheel.at(50, 1)[2] < 20);
}
