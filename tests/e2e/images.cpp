// Frames and flow of extreme sizes: one pixel, and 30,000 x 30,000 that a few bytes claim.
#include <fstream>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

void write_text(const fs::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

// 30,000 is 0x7530.
const std::string kPng(
    "\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\x75\x30\0\0\x75\x30\x08\x02\0\0\0\0\0\0\0\0\0\0\x01IDATx\0\0\0\0",
    46);
const std::string kJpeg(
    "\xFF\xD8\xFF\xC0\0\x0B\x08\x75\x30\x75\x30\x01\x01\x11\0\xFF\xDA\0\x08\x01\x01\0\0\x3F\0\0", 26);
const std::string kPpm = "P6\n30000 30000\n255\nabc";
const std::string kFlo("PIEH\x30\x75\0\0\x30\x75\0\0abcdefgh", 20);

constexpr int64_t kLittleKib = 400 * 1024;  // 2.7 GB of pixels are claimed

}  // namespace

TEST_CASE("frames of one pixel have flow of one pixel, and can be trained on") {
  const TemporaryFolder folder;
  const fs::path weights = small_run(folder, "weights");
  write_frames(folder / "dot", {0, 3}, {1, 1});
  write_frames(folder / "line", {0, 3}, {1, 70});
  for (const char* name : {"dot", "line"}) {
    INFO(name);
    const Result result = flow({"--weights", weights.string(), "--data", (folder / name).string(), "--out",
                                (folder / "flow").string(), "--format", "flo,png"});
    INFO(result.err);
    REQUIRE(result.code == 0);
    const Flow written = read_flo((folder / "flow" / name / "flow_00002.flo").string());
    CHECK(written.size() == read_image((folder / name / "img_00001.png").string()).size());
    const Result training =
        train(join(join(tiny(), {"--data", (folder / name).string(), "--out"}),
                   {(folder / (std::string("run-") + name)).string(), "--iterations", "2"}));
    INFO(training.err);
    CHECK(training.code == 0);
  }
}

TEST_CASE("a claim of 30,000 x 30,000 pixels is refused by name, before memory is taken for it") {
  const TemporaryFolder folder;
  const fs::path weights = small_run(folder, "weights");
  const auto refused = [&](const std::string& extension, const std::string& bytes) {
    INFO(extension);
    const fs::path data = folder / ("claims" + extension);
    fs::create_directories(data);
    for (const char* name : {"img_00001", "img_00002", "img_00003"})
      write_text(data / (name + extension), bytes);
    const Result made =
        flow({"--weights", weights.string(), "--data", data.string(), "--out", (folder / "flow").string()});
    require_failure(made, {3, {"img_00001" + extension, "30000x30000"}});
    CHECK(made.peak_kib < kLittleKib);
    const Result trained = train(join(join(tiny(), {"--data", data.string(), "--hold-out", "0", "--out"}),
                                      {(folder / "run").string(), "--iterations", "2"}));
    CHECK(trained.code == 3);
    CHECK_THAT(last_line(trained.err), Contains("30000x30000"));
    CHECK(trained.peak_kib < kLittleKib);
    fs::remove_all(folder / "run");
  };
  refused(".png", kPng);
  refused(".jpg", kJpeg);
  refused(".ppm", kPpm);
  write_frames(folder / "pair", {0, 2}, {64, 64});
  write_text(folder / "truth.flo", kFlo);
  const Result compared =
      flow({"--weights", weights.string(), "--data", (folder / "pair/img_00001.png").string(),
            (folder / "pair/img_00002.png").string(), "--truth", (folder / "truth.flo").string()});
  require_failure(compared, {3, {"truth.flo", "30000x30000"}});
  CHECK(compared.peak_kib < kLittleKib);
}
