// motionnet-flow: every format holds the flow of the .flo files, errors are those counted by hand, and flow
// of different weights or options is never mixed.
#include <cmath>
#include <fstream>

#include "data/flow_files.h"
#include "data/flow_jpeg.h"
#include "data/picture.h"
#include "data/video.h"
#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

void write_text(const fs::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

// Frames of an odd size in clips/one (4) and clips/two (3), and weights of the seed.
struct Scene {
  TemporaryFolder folder;
  fs::path weights = small_run(folder, "weights", "--iterations 0");

  Scene() {
    write_frames(folder / "clips/one", {0, 4}, {70, 101});
    write_frames(folder / "clips/two", {5, 3}, {70, 101});
  }
  Result run(const std::string& data, const std::string& out, const std::string& more = "") const {
    std::vector<std::string> arguments = {
        "--weights", weights.string(), "--data", (folder / data).string(), "--threads", "1"};
    if (!out.empty()) arguments = join(arguments, {"--out", (folder / out).string()});
    return flow(join(arguments, words(more)));
  }
  void require(const std::string& data, const std::string& out, const std::string& more = "") const {
    const Result result = run(data, out, more);
    INFO(result.err);
    REQUIRE(result.code == 0);
  }
};

double largest_difference(const Flow& a, const Flow& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (size_t k = 0; k < a.uv.size(); ++k)
    largest = std::max(largest, std::fabs(double{a.uv[k]} - double{b.uv[k]}));
  return largest;
}

}  // namespace

TEST_CASE("KITTI's PNG and JPEG pairs hold the flow of the .flo files") {
  const Scene scene;
  scene.require("clips/one", "all", "--format flo,kitti,jpg,jpg");
  scene.require("clips/one", "cut", "--format jpg --bound 25 --rounding truncate --quality 100");
  const fs::path all = scene.folder / "all/one", cut = scene.folder / "cut/one";
  CHECK(flow_names_in(all) ==
        std::vector<std::string>{"flow.json", "flow_00001.flo", "flow_00002.flo", "flow_00003.flo",
                                 "flow_x_00001.jpg", "flow_x_00002.jpg", "flow_x_00003.jpg",
                                 "flow_y_00001.jpg", "flow_y_00002.jpg", "flow_y_00003.jpg",
                                 "kitti_00001.png", "kitti_00002.png", "kitti_00003.png"});
  const FlowJpegFolder rounded(all, {}), truncated(cut, {});
  CHECK(rounded.info().mapping == FlowByteMapping{.bound = 20, .rounding = FlowRounding::round});
  CHECK(truncated.info().mapping == FlowByteMapping{.bound = 25, .rounding = FlowRounding::truncate});
  CHECK(truncated.info().quality == 100);
  CHECK(rounded.info().flows == 3);
  CHECK(rounded.info().size == Size{70, 101});
  CHECK_THAT(rounded.info().source, Contains("clips/one"));
  for (int64_t k = 1; k <= 3; ++k) {
    const std::string number = "0000" + std::to_string(k);
    const Flow exact = read_flo((all / ("flow_" + number + ".flo")).string());
    CHECK(largest_difference(read_kitti_png((all / ("kitti_" + number + ".png")).string()), exact) <=
          1. / 128);
    // Of an untrained net, so rough; JPEG changes it by some steps of 40 / 255 and 50 / 255 pixels.
    CHECK(largest_difference(rounded.read(k), exact) < 40. / 255 * 12);
    CHECK(largest_difference(truncated.read(k), exact) < 50. / 255 * 3);
  }
}

TEST_CASE("a video has a frame per pair, all at one scale, and the frames beside it when wanted") {
  if (!video_built_in()) return;
  const Scene scene;
  for (const char* format : {"video", "mkv", "avi"}) {
    INFO(format);
    const std::string extension = std::string(format) == "video" ? "mp4" : format;
    scene.require("clips/one", format, std::string("--max-flow 12 --format flo,") + format);
    const fs::path made = scene.folder / format / "one";
    CHECK(flow_names_in(made).front() == "flow." + extension);
    int64_t frames = 0;
    index_video((made / ("flow." + extension)).string(), [&](int64_t k, Image& image) {
      ++frames;
      REQUIRE(image.size() == Size{70, 102});
      const Flow flow = read_flo((made / ("flow_0000" + std::to_string(k + 1) + ".flo")).string());
      // Over squares of 8 pixels, since colours have half the resolution.
      const Image expected = resize_area(flow_picture(flow, 12), {9, 13}),
                  found = resize_area(crop(image, {.size = {70, 101}}), {9, 13});
      double sum = 0;
      for (size_t p = 0; p < found.pixels.size(); ++p)
        sum += std::abs(int{found.pixels[p]} - int{expected.pixels[p]});
      CHECK(sum / static_cast<double>(found.pixels.size()) < 6);
    });
    CHECK(frames == 3);
  }
  scene.require("clips/one", "beside", "--format video,png --side-by-side --fps 5");
  const VideoIndex beside =
      index_video((scene.folder / "beside/one/flow.mp4").string(), [](int64_t, Image&) {});
  CHECK(beside.size == Size{70, 206});
  CHECK(read_image((scene.folder / "beside/one/flow_00002.png").string()).size() == Size{70, 206});
}

TEST_CASE("errors are those of the written flow, per pair and in all") {
  const Scene scene;
  scene.require("clips/one", "flow");
  fs::create_directories(scene.folder / "truth");
  int64_t over = 0, outliers = 0, pixels = 0, unknown = 0;
  double sum = 0;
  std::vector<double> means;
  for (int k = 1; k <= 2; ++k) {  // pair 3 has none
    const Flow made =
        read_flo((scene.folder / "flow/one" / ("flow_0000" + std::to_string(k) + ".flo")).string());
    Flow truth = made;
    double pair_sum = 0;
    int64_t pair_pixels = 0;
    for (int64_t i = 0; i < 70; ++i) {
      for (int64_t j = 0; j < 101; ++j) {
        float* uv = truth.at(i, j);
        const float distance = i < 10 ? 0 : i < 30 ? 2 : i < 50 ? 4 : 6;
        // To 1/64, so that KITTI's PNG changes nothing.
        uv[0] = std::floor(uv[0] * 64) / 64;
        uv[1] = std::floor((uv[1] + distance) * 64) / 64 + (j == 0 && i >= 50 ? 100 : 0);
        if (i >= 60) {
          uv[0] = uv[1] = kUnknownFlow;
          ++unknown;
          continue;
        }
        const double e = std::hypot(double{uv[0]} - made.at(i, j)[0], double{uv[1]} - made.at(i, j)[1]);
        pair_sum += e;
        ++pair_pixels;
        over += e > 3;
        outliers += e > 3 && e > .05 * std::hypot(uv[0], uv[1]);
      }
    }
    if (k == 1)
      write_flo((scene.folder / "truth/flow_00001.flo").string(), truth);
    else
      write_kitti_png((scene.folder / "truth/flow_00002.png").string(), truth);
    means.push_back(pair_sum / static_cast<double>(pair_pixels));
    sum += pair_sum;
    pixels += pair_pixels;
  }
  const std::string truth = "--json --truth " + (scene.folder / "truth").string();
  const Result result = scene.run("clips/one", "", truth);
  INFO(result.err);
  REQUIRE(result.code == 0);
  const json all = parse_only_line(result.out);
  CHECK(all.at("pixels") == pixels);
  CHECK(all.at("unknown_pixels") == unknown);
  CHECK(all.at("epe").get<double>() == Approx(sum / static_cast<double>(pixels)).epsilon(1e-6));
  CHECK(all.at("over_3px").get<double>() ==
        Approx(100. * static_cast<double>(over) / static_cast<double>(pixels)));
  CHECK(all.at("fl_all").get<double>() ==
        Approx(100. * static_cast<double>(outliers) / static_cast<double>(pixels)));
  CHECK(all.at("over_1px").get<double>() == Approx(100. * 50 / 60));
  CHECK(all.at("over_5px").get<double>() == Approx(100. * 10 / 60));
  REQUIRE(all.at("pairs").size() == 2);
  for (size_t k = 0; k < 2; ++k) {
    CHECK(all.at("pairs")[k].at("pair") == k + 1);
    CHECK(all.at("pairs")[k].at("item") == "one");
    CHECK(all.at("pairs")[k].at("epe").get<double>() == Approx(means[k]).epsilon(1e-6));
  }
  // The same from a run that finds its flow finished.
  CHECK(scene.run("clips/one", "kept", truth).code == 0);
  const json again = parse_only_line(scene.run("clips/one", "kept", truth).out);
  CHECK(again.at("found_finished") == 1);
  CHECK(again.at("epe").get<double>() == Approx(all.at("epe").get<double>()).epsilon(1e-12));
  CHECK(again.at("pairs") == all.at("pairs"));
  const Result text = scene.run("clips/one", "", "--truth " + (scene.folder / "truth").string());
  CHECK_THAT(text.out, Contains("Fl-all") && Contains("one pair 2:") && Contains(std::to_string(pixels)) &&
                           Contains(std::to_string(unknown)));
}

TEST_CASE("truth lies beside frames, in a video's own folder, or in JPEG pairs") {
  const Scene scene;
  scene.require("clips", "flow", "--format flo,jpg");
  const auto epe = [&](const std::string& data, const std::string& truth) {
    const Result result = scene.run(data, "", "--json " + truth);
    INFO(result.err);
    REQUIRE(result.code == 0);
    return parse_only_line(result.out);
  };
  const std::string own = "--truth " + (scene.folder / "flow").string();
  CHECK(epe("clips", own).at("epe") == 0);
  CHECK(epe("clips", own).at("pairs").size() == 5);
  fs::remove(scene.folder / "flow/two/flow_00001.flo");
  CHECK(epe("clips/two", own).at("epe").get<double>() > 0);  // its pairs are 8 bits
  CHECK(epe("clips/two", own).at("epe").get<double>() < .1);
  require_failure(scene.run("clips/two", "", own + " --bound 5"), {3, {"flow.json", "bound 5", "bound 20"}});
  const Flow flow = read_flo((scene.folder / "flow/one/flow_00001.flo").string());
  write_kitti_png((scene.folder / "clips/one/flow00001.png").string(), flow);
  const json beside = epe("clips/one", "");
  CHECK(beside.at("pairs").size() == 1);
  CHECK(beside.at("epe").get<double>() < 1. / 64);
  require_failure(scene.run("clips/one", "", "--truth " + (scene.folder / "nowhere").string()),
                  {3, {"nowhere"}});
  fs::create_directories(scene.folder / "empty");
  require_failure(scene.run("clips/one", "", "--truth " + (scene.folder / "empty").string()),
                  {3, {"one", "true flow", "flow_00001.flo", "none"}});
}

TEST_CASE("finished videos are not made again, and other weights or options are not mixed in") {
  const Scene scene;
  scene.require("clips", "out");
  const fs::path file = scene.folder / "out/one/flow_00001.flo";
  write_text(file, "not touched");
  fs::remove_all(scene.folder / "out/two");
  const Result again = scene.run("clips", "out");
  CHECK(again.code == 0);
  CHECK_THAT(again.out, Contains("1 finished before"));
  CHECK(bytes_of(file) == "not touched");
  CHECK(flow_names_in(scene.folder / "out/two").size() == 2);
  require_failure(scene.run("clips", "out", "--native"), {2, {"out/one", "native", "--overwrite"}});
  require_failure(scene.run("clips", "out", "--format png"), {2, {"format", "png", "flo", "--overwrite"}});
  const fs::path other = small_run(scene.folder, "other", "--iterations 1");
  const auto with_other = [&](const std::string& more) {
    return flow(join({"--weights", other.string(), "--data", (scene.folder / "clips").string(), "--out",
                      (scene.folder / "out").string(), "--threads", "1"},
                     words(more)));
  };
  require_failure(with_other(""), {2, {"weights", "--overwrite"}});
  write_text(scene.folder / "out/one/notes.txt", "mine");
  CHECK(with_other("--overwrite --format png").code == 0);
  CHECK(flow_names_in(scene.folder / "out/one") ==
        std::vector<std::string>{"flow_00001.png", "flow_00002.png", "flow_00003.png", "notes.txt"});
  CHECK_THAT(with_other("--overwrite --format png").out, Contains("2 finished before"));
}

TEST_CASE("flow of unknown origin is not replaced unless told so") {
  const Scene scene;
  fs::create_directories(scene.folder / "out/one");
  write_text(scene.folder / "out/one/flow_00001.flo", "precious");
  require_failure(scene.run("clips", "out"), {2, {"out/one", "done.json", "flow_00001.flo", "--overwrite"}});
  CHECK(bytes_of(scene.folder / "out/one/flow_00001.flo") == "precious");
  write_text(scene.folder / "out/one/done.json", "{");
  require_failure(scene.run("clips", "out"), {3, {"done.json", "--overwrite"}});
  scene.require("clips", "out", "--overwrite");
  CHECK(flow_names_in(scene.folder / "out/one").size() == 3);
  // Folders of frames in folders of frames: the outer one's flow does not take the inner one's away.
  write_frames(scene.folder / "clips/one/inner", {0, 2}, {64, 64});
  for (int round = 0; round < 2; ++round) {
    scene.require("clips", "nested", round == 0 ? "" : "--overwrite --format kitti");
    CHECK(names_in(scene.folder / "nested/one").size() == 5);
    CHECK(flow_names_in(scene.folder / "nested/one/inner").size() == 1);
  }
}

TEST_CASE("bad videos among good ones: the good are written, the bad are named, the next run goes on") {
  const Scene scene;
  write_frames(scene.folder / "clips/torn", {0, 3}, {64, 64});
  fs::resize_file(scene.folder / "clips/torn/img_00002.png", 100);
  write_frames(scene.folder / "clips/gap", {0, 4}, {64, 64});
  fs::remove(scene.folder / "clips/gap/img_00003.png");
  write_frames(scene.folder / "clips/single", {0, 1}, {64, 64});
  write_frames(scene.folder / "clips/with blank", {0, 2}, {64, 64});
  const Result result = scene.run("clips", "out", "--json");
  CHECK(result.code == 3);
  const json line = parse_only_line(result.out);
  CHECK(line.at("items") == 3);
  CHECK(line.at("failed") == 3);
  CHECK(line.at("flows") == 6);
  CHECK(names_in(scene.folder / "out") == std::vector<std::string>{"one", "two", "with blank"});
  CHECK_THAT(result.err, Contains("3 of 6 videos could not be used"));
  std::string summary = result.err.substr(result.err.find("3 of 6"));
  for (const char* name : {"torn", "gap", "single"}) {
    CHECK_THAT(summary, Contains(name));
    CHECK_THAT(line.at("bad").dump(), Contains(name));
  }
  write_frames(scene.folder / "clips/torn", {0, 3}, {64, 64});
  const json mended = parse_only_line(scene.run("clips", "out", "--json").out);
  CHECK(mended.at("items") == 4);
  CHECK(mended.at("found_finished") == 3);
  CHECK(mended.at("failed") == 2);
}

TEST_CASE("options of motionnet-flow that cannot be meant") {
  const auto refused = [](const std::string& more, const std::vector<std::string>& parts) {
    require_failure(flow(words("--weights x --data y --out z " + more)), {2, parts});
  };
  refused("--format flo,bmp", {"--format", "kitti", "bmp"});
  refused("--format jpg --bound 0", {"--bound", "0"});
  refused("--format jpg --bound nan", {"--bound"});
  refused("--format jpg --rounding nearest", {"--rounding", "truncate", "nearest"});
  refused("--format jpg --quality 101", {"--quality", "101"});
  refused("--max-flow -1", {"--max-flow", "-1"});
  refused("--fps 0", {"--fps", "0"});
  refused("--every 0", {"--every", "0"});
  refused("--epe-border -1", {"--epe-border", "-1"});
}

TEST_CASE("motionnet-flow measures kernels and keeps them") {
  const Scene scene;
  const fs::path cache = scene.folder / "kernels.json";
  const std::string with_cache = " --kernel-cache " + cache.string();
  CHECK(scene.run("clips/two", "a", "--kernels measure" + with_cache).code == 0);
  CHECK(json::parse(bytes_of(cache)).at("choices").size() == 1);
  const auto written = fs::last_write_time(cache);
  scene.require("clips/two", "b", with_cache);
  CHECK((fs::last_write_time(cache) == written));
  require_failure(scene.run("clips/two", "c", "--kernels fastest"), {2, {"--kernels", "fastest"}});
}

TEST_CASE("real truth: RubberWhale's known pixels are counted, from .flo and from KITTI's PNG") {
  const auto data = test_data("middlebury/RubberWhale/flow10.flo");
  if (!data) return;
  const Scene scene;
  const fs::path frames = data->parent_path();
  write_kitti_png((scene.folder / "flow10.png").string(), read_flo(data->string()));
  json found;
  for (const fs::path& truth : {*data, scene.folder / "flow10.png"}) {
    const Result result =
        flow({"--weights", scene.weights.string(), "--data", (frames / "frame10.png").string(),
              (frames / "frame11.png").string(), "--truth", truth.string(), "--json", "--threads", "1"});
    INFO(result.err);
    REQUIRE(result.code == 0);
    found = parse_only_line(result.out);
    CHECK(found.at("zero_flow_epe").get<double>() == Approx(1.256).margin(.001));
    CHECK(found.at("pixels").get<int64_t>() + found.at("unknown_pixels").get<int64_t>() == 388 * 584);
    CHECK(found.at("unknown_pixels").get<int64_t>() > 3000);
  }
}
