#include "data/picture.h"

#include <algorithm>

#include "core/error.h"
#include "tests/catch.h"

namespace millrace {
namespace {

Flow uniform_flow(Size size, float u, float v) {
  Flow flow;
  flow.reshape(size);
  for (size_t p = 0; p < flow.uv.size(); p += 2) {
    flow.uv[p] = u;
    flow.uv[p + 1] = v;
  }
  return flow;
}

bool same_pixel(const Image& a, const Image& b) { return std::equal(a.at(0, 0), a.at(0, 0) + 3, b.at(0, 0)); }

}  // namespace

TEST_CASE("pictures stand side by side with a white gap") {
  Image left, right;
  left.reshape({2, 3}, 3);
  right.reshape({2, 1}, 3);
  std::fill(left.pixels.begin(), left.pixels.end(), uint8_t{10});
  std::fill(right.pixels.begin(), right.pixels.end(), uint8_t{20});
  const Image both = side_by_side({left, right});
  CHECK(both.width == 8);
  CHECK(*both.at(1, 2) == 10);
  CHECK(*both.at(1, 3) == 255);
  CHECK(*both.at(1, 6) == 255);
  CHECK(*both.at(1, 7) == 20);
  right.reshape({3, 1}, 3);
  CHECK_THROWS_AS(side_by_side({left, right}), Error);
}

TEST_CASE("the radius leaves out one pixel in a hundred, and unknown ones") {
  Flow flow = uniform_flow({10, 20}, 3, 4);
  flow.uv[0] = 1000;
  CHECK(flow_radius(flow) == 5);
  flow.uv[2] = kUnknownFlow;
  CHECK(flow_radius(flow) == 5);
  CHECK(flow_radius(uniform_flow({2, 2}, kUnknownFlow, 0)) == 0);
}

TEST_CASE("what is longer than the radius has the radius's colour, not a darker one") {
  const Image at = flow_picture(uniform_flow({8, 8}, 2, 0), 2),
              beyond = flow_picture(uniform_flow({8, 8}, 9, 0), 2);
  CHECK(same_pixel(at, beyond));
  CHECK(!same_pixel(flow_picture(uniform_flow({8, 8}, 1, 0), 2), at));
}

TEST_CASE("large pictures carry the wheel of directions") {
  const Flow still = uniform_flow({66, 70}, 0, 0);
  const Image picture = flow_picture(still, 1);
  const Image plain = flow_to_color(still, 1);
  CHECK(picture.size() == plain.size());
  CHECK(same_pixel(picture, plain));
  CHECK(picture.pixels != plain.pixels);
}

}  // namespace millrace
