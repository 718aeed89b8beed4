// Flow as pairs of 8-bit JPEGs with their flow.json.
#include "data/flow_jpeg.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/files.h"
#include "data/encode.h"
#include "message_of.h"
#include "temporary_folder.h"
#include "tests/catch.h"

using namespace millrace;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using test::message_of;
using test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

constexpr FlowByteMapping kRound{.bound = 20, .rounding = FlowRounding::round},
    kTruncate{.bound = 20, .rounding = FlowRounding::truncate};

// Smooth, so that JPEG changes it little; every byte from 8 to 247 occurs.
Flow ramp(Size size) {
  Flow flow;
  flow.reshape(size);
  for (int64_t i = 0; i < size.height; ++i) {
    for (int64_t j = 0; j < size.width; ++j) {
      flow.at(i, j)[0] = -18 + 36 * static_cast<float>(j) / static_cast<float>(size.width);
      flow.at(i, j)[1] = 18 - 36 * static_cast<float>(i) / static_cast<float>(size.height);
    }
  }
  return flow;
}

FlowJpegInfo info_of(const Flow& flow, int64_t flows, const FlowByteMapping& mapping = kRound) {
  return {.mapping = mapping, .size = flow.size(), .flows = flows, .quality = 95, .source = "a \"video\""};
}

void write_text(const fs::path& file, const std::string& text) { write_file_atomically(file, text); }

// Two pairs and their flow.json.
void write_folder(const fs::path& folder, const Flow& flow, const FlowByteMapping& mapping = kRound) {
  fs::create_directories(folder);
  const FlowJpegInfo info = info_of(flow, 2, mapping);
  write_flow_jpegs(folder, 1, flow, info);
  write_flow_jpegs(folder, 2, flow, info);
  write_text(folder / kFlowJsonFile, flow_json(info));
}

std::string opening(const fs::path& folder, const std::optional<FlowByteMapping>& given = {}) {
  return message_of([&] { FlowJpegFolder(folder, given).read(1); });
}

}  // namespace

TEST_CASE("flow becomes the bytes of the formula") {
  CHECK(flow_to_byte(-20, kRound) == 0);
  CHECK(flow_to_byte(20, kRound) == 255);
  CHECK(flow_to_byte(-1000, kRound) == 0);
  CHECK(flow_to_byte(1000, kRound) == 255);
  CHECK(flow_to_byte(0, kRound) == 128);
  CHECK(flow_to_byte(0, kTruncate) == 127);
  // (1.25 + 20) * 6.375 = 135.47, (1.3 + 20) * 6.375 = 135.79
  CHECK(flow_to_byte(1.25, kRound) == 135);
  CHECK(flow_to_byte(1.3, kRound) == 136);
  CHECK(flow_to_byte(1.3, kTruncate) == 135);
  CHECK(flow_to_byte(19.99, kTruncate) == 254);
  CHECK(flow_to_byte(20, kTruncate) == 255);
  CHECK(flow_to_byte(-19.99, kTruncate) == 0);
}

TEST_CASE("a byte stands for the middle of what becomes it") {
  for (const FlowByteMapping& mapping : {kRound, kTruncate, FlowByteMapping{.bound = 5.5}}) {
    double worst = 0;
    for (int k = -1000; k <= 1000; ++k) {
      const double v = mapping.bound * k / 1000;
      worst = std::max(worst, std::fabs(v - double{byte_to_flow(flow_to_byte(v, mapping), mapping)}));
    }
    CHECK(worst <= mapping.bound / 255 * (1 + 1e-4));
    CHECK(worst > mapping.bound / 255 * .9);
    for (int byte = 0; byte < 256; ++byte) {
      const auto b = static_cast<uint8_t>(byte);
      CHECK(flow_to_byte(double{byte_to_flow(b, mapping)} + 1e-6, mapping) == b);
    }
  }
  CHECK(byte_to_flow(127, kTruncate) == 0);
  CHECK(byte_to_flow(0, kRound) == -20);
  CHECK(byte_to_flow(255, kTruncate) == 20);
}

TEST_CASE("pairs of JPEGs come back within half a step and what JPEG changes") {
  const TemporaryFolder folder;
  const Flow flow = ramp({60, 75});
  for (const FlowByteMapping& mapping : {kRound, kTruncate}) {
    write_folder(folder / "pairs", flow, mapping);
    const FlowJpegFolder read(folder / "pairs", {});
    CHECK(read.info().mapping == mapping);
    CHECK(read.info().size == Size{60, 75});
    CHECK(read.info().flows == 2);
    CHECK(read.info().quality == 95);
    CHECK(read.info().source == "a \"video\"");
    CHECK(read.has(2));
    CHECK_FALSE(read.has(3));
    const Flow again = read.read(2);
    REQUIRE(again.size() == flow.size());
    double worst = 0;
    for (size_t k = 0; k < flow.uv.size(); ++k)
      worst = std::max(worst, std::fabs(double{flow.uv[k]} - double{again.uv[k]}));
    CHECK(worst < 20. / 255 + 3 * 40. / 255);  // JPEG of quality 95 moves a byte by at most 3 here
    CHECK_THROWS_AS(read.read(3), Error);
  }
  CHECK(fs::exists(folder / "pairs/flow_x_00001.jpg"));
  CHECK(flow_jpeg_names(123456).y == "flow_y_123456.jpg");
}

TEST_CASE("flow.json is checked") {
  const TemporaryFolder folder;
  const fs::path pairs = folder / "pairs";
  const Flow flow = ramp({16, 24});
  write_folder(pairs, flow);
  CHECK(opening(pairs) == "no error");
  CHECK(opening(pairs, kRound) == "no error");
  CHECK_THAT(opening(pairs, kTruncate), Contains("flow.json") && Contains("truncate") && Contains("round"));
  CHECK_THAT(opening(pairs, FlowByteMapping{.bound = 16}), Contains("bound 16") && Contains("bound 20"));
  // Sizes and counts that are not those of the pictures.
  FlowJpegInfo info = info_of(flow, 3);
  write_text(pairs / kFlowJsonFile, flow_json(info));
  CHECK_THAT(opening(pairs), Contains("3 pictures each") && Contains("2 of u and 2 of v"));
  info.flows = 2;
  info.size.width = 25;
  write_text(pairs / kFlowJsonFile, flow_json(info));
  CHECK_THAT(opening(pairs), Contains("flow_x_00001.jpg") && Contains("25x16") && Contains("24x16"));
  // Without it the caller must know.
  fs::remove(pairs / kFlowJsonFile);
  CHECK_THAT(opening(pairs), Contains("flow.json") && Contains("bound"));
  CHECK(opening(pairs, kTruncate) == "no error");
  fs::remove(pairs / "flow_y_00002.jpg");
  CHECK_THAT(opening(pairs, kRound), Contains("2 of u and 1 of v"));
  fs::create_directories(folder / "empty");
  CHECK_THAT(opening(folder / "empty"), Contains("flow.json"));
  CHECK_THAT(opening(folder / "empty", kRound), Contains("empty") && Contains("none"));
  CHECK_THAT(opening(folder / "nowhere", kRound), Contains("nowhere"));
}

TEST_CASE("a flow.json that is broken is named with what is wrong") {
  const std::string whole = flow_json(info_of(ramp({16, 24}), 2));
  CHECK(parse_flow_json(whole, "flow.json").flows == 2);
  const auto error_of = [](const std::string& text) {
    return message_of([&] { parse_flow_json(text, "flow.json"); });
  };
  for (size_t length = 0; length + 2 < whole.size(); ++length)
    CHECK_THAT(error_of(whole.substr(0, length)), Contains("[flow.json] expected a JSON object"));
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = whole;
    REQUIRE(text.find(from) != std::string::npos);
    return error_of(text.replace(text.find(from), from.size(), to));
  };
  CHECK_THAT(with("jpeg 1", "jpeg 2"), Contains("millrace flow jpeg 1") && Contains("jpeg 2"));
  CHECK_THAT(with("\"bound\": 20.0", "\"bound\": 0"), Contains("'bound'") && Contains("got 0"));
  CHECK_THAT(with("\"bound\": 20.0", "\"bound\": 1e99"), Contains("'bound'"));
  CHECK_THAT(with("\"bound\": 20.0", "\"bound\": \"20\""), Contains("'bound'"));
  CHECK_THAT(with("\"round\"", "\"nearest\""), Contains("round or truncate") && Contains("nearest"));
  CHECK_THAT(with("\"width\": 24", "\"width\": -1"), Contains("'width'"));
  CHECK_THAT(with("\"width\": 24", "\"width\": 24.5"), Contains("'width'"));
  CHECK_THAT(with("\"width\": 24", "\"width\": 18446744073709551615"), Contains("'width'"));
  CHECK_THAT(with("\"height\"", "\"depth\""), Contains("'height'") && Contains("none"));
  CHECK_THAT(with("\"quality\": 95", "\"quality\": 101"), Contains("'quality'"));
  CHECK_THAT(error_of("[1]"), Contains("JSON object"));
  // Whatever stands there, the message is one short line.
  const std::string deep(200'000, '['), deep_end(200'000, ']');
  CHECK_THAT(with("\"bound\": 20.0", "\"bound\": " + deep + deep_end), EndsWith("got an array"));
  CHECK_THAT(with("\"width\": 24", "\"width\": {\"a\": 1}"), EndsWith("got an object"));
  CHECK(with("\"round\"", '"' + std::string(10'000, 'x') + '"').size() < 200);
  CHECK_THAT(with("jpeg 1", "\\r\\n\\u001b[2J"), EndsWith(R"(got "millrace flow \r\n\u001b[2J")"));
}

TEST_CASE("pictures that are no pictures of flow") {
  const TemporaryFolder folder;
  const fs::path pairs = folder / "pairs", first = pairs / "flow_x_00001.jpg";
  write_folder(pairs, ramp({16, 24}));
  std::ifstream stream(first, std::ios::binary);
  const std::string whole(std::istreambuf_iterator<char>(stream), {});
  Image colour;
  colour.reshape({16, 24}, 3);
  write_text(first, encode_jpeg(colour, 95));
  CHECK_THAT(opening(pairs), Contains("flow_x_00001.jpg") && Contains("gray") && Contains("colours"));
  Image large;
  large.reshape({160, 24}, 1);
  write_text(first, encode_jpeg(large, 95));
  CHECK_THAT(opening(pairs), Contains("24x16") && Contains("24x160"));
  write_text(first, encode_png(colour));
  CHECK_THAT(opening(pairs), Contains("JPEG header"));
  for (size_t length = 0; length < whole.size(); length += 7) {
    CAPTURE(length);
    write_text(first, whole.substr(0, length));
    CHECK_THAT(opening(pairs), Contains("flow_x_00001.jpg"));
  }
}

TEST_CASE("what JPEG pairs cannot hold is not written") {
  const TemporaryFolder folder;
  Flow flow = ramp({16, 24});
  const FlowJpegInfo info = info_of(flow, 1);
  flow.at(3, 3)[1] = kUnknownFlow;
  CHECK_THAT(message_of([&] { write_flow_jpegs(folder.path(), 1, flow, info); }), Contains("unknown"));
  CHECK_THAT(message_of([&] {
               write_flow_jpegs(folder.path(), 1, ramp({16, 25}), info);
             }),
             Contains("24x16") && Contains("25x16"));
  CHECK_THROWS_AS(parse_rounding("nearest"), Error);
}
