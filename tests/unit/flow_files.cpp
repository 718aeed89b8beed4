// KITTI's 16-bit flow PNG, and reading whichever format a flow file has.
#include "data/flow_files.h"

#include <zlib.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "core/error.h"
#include "core/files.h"
#include "data/encode.h"
#include "message_of.h"
#include "temporary_folder.h"
#include "tests/catch.h"

using namespace millrace;
using Catch::Matchers::Contains;
using test::message_of;
using test::TemporaryFolder;

namespace {

Flow flow_of(Size size, const std::vector<float>& uv) {
  Flow flow;
  flow.reshape(size);
  flow.uv = uv;
  return flow;
}

std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string chunk(const std::string& tag, const std::string& body) {
  const std::string whole = tag + body;
  const auto crc = ::crc32(0, reinterpret_cast<const Bytef*>(whole.data()), static_cast<uInt>(whole.size()));
  return big_endian(static_cast<uint32_t>(body.size())) + whole + big_endian(static_cast<uint32_t>(crc));
}

std::string deflated(const std::string& text) {
  std::string out(::compressBound(text.size()), char{0});
  uLongf size = out.size();
  ::compress(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(text.data()),
             text.size());
  return out.substr(0, size);
}

// A PNG written from its specification alone, without libpng. `rows` begin with their filter byte.
struct PngParts {
  uint32_t width = 1, height = 1;
  int bits = 16, colour = 2, interlace = 0;
  std::string rows;
};
std::string png(const PngParts& p) {
  const std::string kind = {static_cast<char>(p.bits), static_cast<char>(p.colour), 0, 0,
                            static_cast<char>(p.interlace)};
  return "\x89PNG\r\n\x1A\n" + chunk("IHDR", big_endian(p.width) + big_endian(p.height) + kind) +
         chunk("IDAT", deflated(p.rows)) + chunk("IEND", "");
}

std::string error_of(const std::string& bytes) {
  try {
    decode_kitti_png(bytes, "a.png");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::data);
    CHECK_THAT(e.what(), Contains("a.png"));
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("KITTI's PNG means what its readme says") {
  // R, G, B of three pixels: (0, 0) known; (1, -1/64); unknown.
  const std::string rows = std::string("\0\x80\0\x80\0\0\1\x80\x40\x7F\xFF\xFF\xFF\x12\x34\x56\x78\0\0", 19);
  const Flow flow = decode_kitti_png(png({.width = 3, .rows = rows}), "a.png");
  REQUIRE(flow.size() == Size{1, 3});
  CHECK(flow.uv == std::vector<float>{0, 0, 1, -1.f / 64, kUnknownFlow, kUnknownFlow});
  // Interlaced, the one pixel is all of the first pass.
  CHECK(decode_kitti_png(png({.interlace = 1, .rows = rows.substr(0, 7)}), "a.png").uv ==
        std::vector<float>{0, 0});
}

TEST_CASE("KITTI's PNG keeps every multiple of 1/64 in its range, and nothing else exactly") {
  Flow all;
  all.reshape({256, 256});
  for (int k = 0; k < 65536; ++k) {
    all.uv[2 * static_cast<size_t>(k)] = static_cast<float>(k - 32768) / 64;
    all.uv[2 * static_cast<size_t>(k) + 1] = static_cast<float>(32767 - k) / 64;
  }
  const std::string bytes = encode_kitti_png(all);
  CHECK(decode_kitti_png(bytes, "all").uv == all.uv);
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const Flow odd = flow_of({2, 4}, {0.007f, 0.0078125f, -0.0078125f, -0.0079f, 511.99f, -512.01f, 1e6f, -1e6f,
                                    kUnknownFlow, 3, 3, nan, inf, 0, 1e9f, -1e9f});
  CHECK(decode_kitti_png(encode_kitti_png(odd), "odd").uv ==
        std::vector<float>{0, 1.f / 64, 0, -1.f / 64, 511.984375f, -512, 511.984375f, -512, kUnknownFlow,
                           kUnknownFlow, kUnknownFlow, kUnknownFlow, kUnknownFlow, kUnknownFlow, 511.984375f,
                           -512});
  for (const Size size : {Size{1, 1}, Size{1, 7}, Size{5, 1}}) {
    Flow flow;
    flow.reshape(size);
    for (size_t k = 0; k < flow.uv.size(); ++k) flow.uv[k] = static_cast<float>(k) - 3.5f;
    const Flow read = decode_kitti_png(encode_kitti_png(flow), "small");
    CHECK(read.size() == size);
    CHECK(read.uv == flow.uv);
  }
  CHECK_THROWS_AS(encode_kitti_png(Flow{}), Error);
}

TEST_CASE("a KITTI PNG cut anywhere is an error") {
  Flow flow;
  flow.reshape({9, 11});
  for (size_t k = 0; k < flow.uv.size(); ++k) flow.uv[k] = static_cast<float>(k * k % 97) / 8;
  const std::string whole = encode_kitti_png(flow);
  for (size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK(error_of(whole.substr(0, length)) != "no error");
  }
  size_t found = 0;
  for (size_t k = 0; k < whole.size(); ++k) {  // checksums guard nearly every byte
    std::string changed = whole;
    changed[k] = static_cast<char>(changed[k] ^ 0x55);
    try {
      decode_kitti_png(changed, "changed");
    } catch (const Error&) {
      ++found;
    }
  }
  CHECK(found > whole.size() * 8 / 10);
}

TEST_CASE("PNGs that hold no flow") {
  CHECK_THAT(error_of(""), Contains("an empty file"));
  CHECK_THAT(error_of("PIEH"), Contains("another beginning"));
  const std::string rgb8 = png({.bits = 8, .rows = std::string(4, '\0')});
  CHECK_THAT(error_of(rgb8), Contains("16-bit RGB") && Contains("got 8-bit RGB") && Contains("colours"));
  CHECK_THAT(error_of(png({.colour = 0, .rows = std::string(3, '\0')})), Contains("16-bit gray"));
  CHECK_THAT(error_of(png({.colour = 6, .rows = std::string(9, '\0')})), Contains("16-bit RGB with alpha"));
  Image picture;
  picture.reshape({4, 4}, 3);
  CHECK_THAT(error_of(encode_png(picture)), Contains("8-bit RGB"));
}

TEST_CASE("a PNG that claims more than it holds is refused before memory is taken for it") {
  CHECK_THAT(error_of(png({.width = 30000, .height = 30000, .rows = "x"})), Contains("30000x30000"));
  CHECK_THAT(error_of(png({.width = 16384, .height = 16384, .rows = "x"})), Contains("bytes can hold"));
  CHECK(error_of(png({.width = 0x7FFFFFFF, .height = 0x7FFFFFFF, .rows = "x"})) != "no error");
  CHECK(error_of(png({.width = 0, .height = 1, .rows = "x"})) != "no error");
  CHECK(error_of(png({.width = 0x80000000u, .height = 1, .rows = "x"})) != "no error");
  // One row of two is there.
  CHECK_THAT(error_of(png({.height = 2, .rows = std::string(7, '\0')})), Contains("a whole PNG"));
}

TEST_CASE("a flow file is read by what it holds, whatever its name says") {
  const TemporaryFolder folder;
  const Flow flow = flow_of({1, 2}, {1.5f, -2, kUnknownFlow, kUnknownFlow});
  write_flo(folder / "a.png", flow);
  write_kitti_png(folder / "a.flo", flow);
  CHECK(read_flow(folder / "a.png").uv == flow.uv);
  CHECK(read_flow(folder / "a.flo").uv == flow.uv);
  CHECK(read_kitti_png(folder / "a.flo").uv == flow.uv);
  write_file_atomically(folder / "text.flo", "neither");
  CHECK_THAT(message_of([&] { read_flow(folder / "text.flo"); }),
             Contains("text.flo") && Contains(".flo or"));
  write_file_atomically(folder / "empty.flo", "");
  CHECK_THAT(message_of([&] { read_flow(folder / "empty.flo"); }), Contains("empty file"));
  CHECK_THAT(message_of([&] { read_flow(folder / "none.flo"); }), Contains("none.flo"));
}

TEST_CASE("real truth goes through KITTI's PNG with its unknown pixels, within half a step") {
  const char* data = std::getenv("MILLRACE_TEST_DATA");
  if (data == nullptr) {
    WARN("skipped: MILLRACE_TEST_DATA names no folder of real data");
    return;
  }
  for (const char* name : {"middlebury/RubberWhale/flow10.flo", "flyingchairs/0000001-gt.flo"}) {
    const Flow truth = read_flow(std::string(data) + "/" + name);
    const Flow read = decode_kitti_png(encode_kitti_png(truth), name);
    REQUIRE(read.size() == truth.size());
    double worst = 0;
    int64_t unknown = 0, differing = 0;
    for (size_t k = 0; k < truth.uv.size(); k += 2) {
      differing += is_known(&truth.uv[k]) != is_known(&read.uv[k]);
      unknown += !is_known(&read.uv[k]);
      if (!is_known(&truth.uv[k])) continue;
      for (size_t c = 0; c < 2; ++c)
        worst = std::max(worst, std::fabs(double{truth.uv[k + c]} - double{read.uv[k + c]}));
    }
    INFO(name);
    CHECK(differing == 0);
    CHECK(worst <= 1. / 128);
    CHECK((unknown > 0) == (std::string(name).find("Rubber") != std::string::npos));
  }
}
