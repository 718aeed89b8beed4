// Middlebury .flo files, and resizing, cropping, mirroring and comparing flow.
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/files.h"
#include "data/flow.h"
#include "temporary_folder.h"
#include "tests/catch.h"

using namespace millrace;
using test::TemporaryFolder;

namespace {

// Affine, so that bilinear interpolation is exact inside.
Flow affine_flow(Size size) {
  Flow flow;
  flow.reshape(size);
  for (int64_t i = 0; i < size.height; ++i) {
    for (int64_t j = 0; j < size.width; ++j) {
      flow.at(i, j)[0] = 1.5f + 0.25f * static_cast<float>(j) - 0.125f * static_cast<float>(i);
      flow.at(i, j)[1] = -2.0f + 0.5f * static_cast<float>(i);
    }
  }
  return flow;
}

bool is_data_error(const std::string& path) {
  try {
    read_flo(path);
  } catch (const Error& error) {
    return error.kind() == ErrorKind::data;
  }
  return false;
}

}  // namespace

TEST_CASE("a .flo file has the published bytes and comes back") {
  const TemporaryFolder folder;
  Flow flow;
  flow.reshape({1, 2});
  flow.uv = {1.0f, -2.0f, kUnknownFlow, 0.5f};
  write_flo(folder / "a.flo", flow);
  const std::string bytes = read_file(folder / "a.flo", 1000);
  REQUIRE(bytes.size() == 12 + 16);
  float mark = 0;
  std::memcpy(&mark, bytes.data(), 4);
  CHECK(mark == 202021.25f);
  CHECK(bytes.substr(4, 12) == std::string("\2\0\0\0\1\0\0\0\0\0\x80\x3F", 12));
  CHECK(read_flo(folder / "a.flo").uv == flow.uv);
  for (const Size size : {Size{1, 1}, Size{5, 3}}) {
    write_flo(folder / "b.flo", affine_flow(size));
    CHECK(read_flo(folder / "b.flo").size() == size);
    CHECK(read_flo(folder / "b.flo").uv == affine_flow(size).uv);
  }
}

TEST_CASE("broken .flo files are errors") {
  const TemporaryFolder folder;
  write_flo(folder / "a.flo", affine_flow({3, 4}));
  const std::string whole = read_file(folder / "a.flo", 1000);
  const std::string path = folder / "broken.flo";
  for (size_t length = 0; length < whole.size(); ++length) {
    write_file_atomically(path, whole.substr(0, length));
    CHECK(is_data_error(path));
  }
  write_file_atomically(path, whole + "x");
  CHECK(is_data_error(path));
  const auto with = [&](size_t at, const std::string& bytes) {
    std::string changed = whole;
    changed.replace(at, bytes.size(), bytes);
    write_file_atomically(path, changed);
    return is_data_error(path);
  };
  CHECK(with(0, "X"));
  CHECK(with(4, std::string("\0\0\0\0", 4)));
  CHECK(with(4, "\xFF\xFF\xFF\xFF"));
  CHECK(with(4, "\xFF\xFF\xFF\x7F"));
  CHECK(with(4, std::string("\xFF\xFF\xFF\x7F\xFF\xFF\xFF\x7F", 8)));
  CHECK(is_data_error(folder / "missing.flo"));
}

TEST_CASE("resized flow is in pixels of its own size") {
  const Flow flow = affine_flow({8, 12});
  const Flow large = resize_flow(flow, {24, 24});
  REQUIRE(large.size() == Size{24, 24});
  for (int64_t i = 2; i < 22; ++i) {
    for (int64_t j = 1; j < 23; ++j) {
      const double x = (static_cast<double>(j) + 0.5) / 2 - 0.5, y = (static_cast<double>(i) + 0.5) / 3 - 0.5;
      CHECK(large.at(i, j)[0] == Approx(2 * (1.5 + 0.25 * x - 0.125 * y)).margin(1e-5));
      CHECK(large.at(i, j)[1] == Approx(3 * (-2 + 0.5 * y)).margin(1e-5));
    }
  }
  CHECK(resize_flow(flow, {8, 12}).uv == flow.uv);
  const Flow point = resize_flow(affine_flow({1, 1}), {2, 3});
  CHECK(point.at(1, 2)[0] == Approx(4.5));
  CHECK(point.at(1, 2)[1] == Approx(-4));
  CHECK_THROWS_AS(resize_flow(flow, {0, 3}), Error);
}

TEST_CASE("unknown flow stays unknown, and spreads only to what it touches") {
  Flow flow = affine_flow({4, 4});
  flow.at(0, 0)[0] = kUnknownFlow;
  const Flow large = resize_flow(flow, {8, 8});
  CHECK_FALSE(is_known(large.at(0, 0)));
  CHECK_FALSE(is_known(large.at(1, 1)));
  CHECK(is_known(large.at(3, 3)));
  Flow turned = flow;
  mirror(turned);
  CHECK_FALSE(is_known(turned.at(0, 3)));
  CHECK(turned.at(0, 3)[0] == kUnknownFlow);
  const float nan[2] = {0, std::numeric_limits<float>::quiet_NaN()};
  CHECK_FALSE(is_known(nan));
}

TEST_CASE("mirrored flow points the other way along u") {
  Flow flow = affine_flow({2, 3});
  const Flow before = flow;
  mirror(flow);
  CHECK(flow.at(1, 0)[0] == -before.at(1, 2)[0]);
  CHECK(flow.at(1, 0)[1] == before.at(1, 2)[1]);
  CHECK(flow.at(1, 1)[0] == -before.at(1, 1)[0]);
  mirror(flow);
  CHECK(flow.uv == before.uv);
}

TEST_CASE("cropped flow is the same vectors") {
  const Flow flow = affine_flow({5, 6});
  Flow cut;
  crop(flow, {.top = 1, .left = 2, .size = {3, 4}}, cut);
  REQUIRE(cut.size() == Size{3, 4});
  CHECK(cut.at(2, 3)[0] == flow.at(3, 5)[0]);
  CHECK_THROWS_AS(crop(flow, {.top = 1, .left = 3, .size = {3, 4}}, cut), Error);
}

TEST_CASE("end-point error leaves out unknown pixels and the border") {
  Flow truth = affine_flow({6, 7});
  Flow flow = truth;
  CHECK(end_point_error(flow, truth).mean == 0);
  CHECK(end_point_error(flow, truth).pixels == 42);
  for (size_t k = 0; k < flow.uv.size(); k += 2) {
    flow.uv[k] += 3;
    flow.uv[k + 1] -= 4;
  }
  CHECK(end_point_error(flow, truth).mean == Approx(5));
  flow.at(0, 0)[0] += 1000;
  flow.at(3, 3)[0] += 1000;
  truth.at(3, 3)[1] = kUnknownFlow;
  const EndPointError inside = end_point_error(flow, truth, 1);
  CHECK(inside.mean == Approx(5));
  CHECK(inside.pixels == 4 * 5 - 1);
  CHECK(end_point_error(flow, truth, 3).pixels == 0);
  CHECK(end_point_error(flow, truth, 100).pixels == 0);
  CHECK_THROWS_AS(end_point_error(flow, affine_flow({7, 6})), Error);
}

TEST_CASE("real truth: RubberWhale") {
  const char* folder = std::getenv("MILLRACE_TEST_DATA");
  if (folder == nullptr) {
    WARN("skipped: MILLRACE_TEST_DATA names no folder of real data");
    return;
  }
  const Flow truth = read_flo(std::string(folder) + "/middlebury/RubberWhale/flow10.flo");
  REQUIRE(truth.size() == Size{388, 584});
  Flow zero;
  zero.reshape(truth.size());
  const EndPointError error = end_point_error(zero, truth);
  CHECK(error.mean == Approx(1.256).margin(0.0005));
  CHECK(1 - static_cast<double>(error.pixels) / (388.0 * 584.0) == Approx(0.016).margin(0.001));
}
