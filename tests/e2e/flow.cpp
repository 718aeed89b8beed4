// What scripts rely on of motionnet-flow: which files it writes, and that their numbers mean what they
// should.
#include <signal.h>

#include <cmath>
#include <map>
#include <memory>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

Result run_flow(const fs::path& weights, const fs::path& data, const fs::path& out,
                const std::string& more = "") {
  return flow(
      join({"--weights", weights.string(), "--data", data.string(), "--out", out.string(), "--threads", "1"},
           words(more)));
}

void require_flow(const fs::path& weights, const fs::path& data, const fs::path& out,
                  const std::string& more = "") {
  const Result result = run_flow(weights, data, out, more);
  INFO(result.err);
  REQUIRE(result.code == 0);
}

std::vector<std::string> flow_names(int count, const std::string& extension = "flo") {
  std::vector<std::string> names;
  for (int k = 1; k <= count; ++k) {
    char name[32];
    std::snprintf(name, sizeof name, "flow_%05d.", k);
    names.push_back(name + extension);
  }
  return names;
}

// Weights of the seed, not trained: flows are not zero, and that is all these tests need.
fs::path weights(const TemporaryFolder& folder, const std::string& more = "") {
  return small_run(folder, "weights", "--iterations 0 " + more);
}

// Bilinear with half-pixel centres, and vectors in pixels of the result.
Flow resized(const Flow& flow, Size size) {
  Flow result;
  result.reshape(size);
  const auto tap = [](double centre, int64_t extent) {
    const double x = std::clamp(centre, 0.0, static_cast<double>(extent - 1));
    const auto low = std::min(static_cast<int64_t>(x), extent - 1);
    return std::tuple(low, std::min(low + 1, extent - 1), x - static_cast<double>(low));
  };
  const double sy = static_cast<double>(flow.height) / static_cast<double>(size.height),
               sx = static_cast<double>(flow.width) / static_cast<double>(size.width);
  for (int64_t i = 0; i < size.height; ++i) {
    for (int64_t j = 0; j < size.width; ++j) {
      const auto [i0, i1, fi] = tap((static_cast<double>(i) + .5) * sy - .5, flow.height);
      const auto [j0, j1, fj] = tap((static_cast<double>(j) + .5) * sx - .5, flow.width);
      for (int c = 0; c < 2; ++c) {
        const double top = flow.at(i0, j0)[c] * (1 - fj) + flow.at(i0, j1)[c] * fj;
        const double bottom = flow.at(i1, j0)[c] * (1 - fj) + flow.at(i1, j1)[c] * fj;
        result.at(i, j)[c] = static_cast<float>((top * (1 - fi) + bottom * fi) / (c == 0 ? sx : sy));
      }
    }
  }
  return result;
}

double largest_difference(const Flow& a, const Flow& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (size_t k = 0; k < a.uv.size(); ++k)
    largest = std::max(largest, std::fabs(double{a.uv[k]} - double{b.uv[k]}));
  return largest;
}

}  // namespace

TEST_CASE("a flow file per pair, from 1, in a folder of the video's name") {
  const TemporaryFolder folder;
  const fs::path w = weights(folder);
  write_frames(folder / "clips/one", {0, 5}, {64, 64});
  write_frames(folder / "clips/two", {9, 2}, {64, 64});
  require_flow(w, folder / "clips/one/", folder / "a");
  CHECK(names_in(folder / "a") == std::vector<std::string>{"one"});
  CHECK(flow_names_in(folder / "a/one") == flow_names(4));
  require_flow(w, folder / "clips", folder / "b", "--format flo");
  CHECK(names_in(folder / "b") == std::vector<std::string>{"one", "two"});
  CHECK(flow_names_in(folder / "b/two") == flow_names(1));
  CHECK((bytes_of(folder / "b/one/flow_00003.flo") == bytes_of(folder / "a/one/flow_00003.flo")));
  require_flow(w, folder / "clips/two", folder / "c", "--format png");
  CHECK(flow_names_in(folder / "c/two") == flow_names(1, "png"));
  CHECK(read_image((folder / "c/two/flow_00001.png").string()).size() == Size{64, 64});
  require_flow(w, folder / "clips/two", folder / "d", "--format flo,png");
  CHECK(flow_names_in(folder / "d/two").size() == 2);
}

TEST_CASE("weights are a file, a checkpoint or a run") {
  const TemporaryFolder folder;
  const fs::path w = weights(folder);
  write_frames(folder / "clip", {0, 2}, {64, 64});
  require_flow(w, folder / "clip", folder / "a");
  require_flow(latest_of(w), folder / "clip", folder / "b");
  require_flow(latest_of(w) / "model.safetensors", folder / "clip", folder / "c");
  const std::string expected = bytes_of(folder / "a/clip/flow_00001.flo");
  CHECK((bytes_of(folder / "b/clip/flow_00001.flo") == expected));
  CHECK((bytes_of(folder / "c/clip/flow_00001.flo") == expected));
}

TEST_CASE("windows of 11 frames share one frame, and the last repeats its last frame") {
  const TemporaryFolder folder;
  const fs::path w = weights(folder, "--frames 11");
  write_frames(folder / "long", {0, 15}, {64, 64});
  write_frames(folder / "head", {0, 11}, {64, 64});
  fs::create_directories(folder / "tail");
  for (int k = 0; k < 11; ++k) {
    char name[32];
    std::snprintf(name, sizeof name, "img_%05d.png", k + 1);
    write_png((folder / "tail" / name).string(), frame(std::min(10 + k, 14), {64, 64}));
  }
  write_frames(folder / "pair", {10, 2}, {64, 64});
  write_frames(folder / "five", {10, 5}, {64, 64});
  for (const char* name : {"long", "head", "tail", "pair", "five"})
    require_flow(w, folder / name, folder / "out");
  CHECK(flow_names_in(folder / "out/long") == flow_names(14));
  CHECK(flow_names_in(folder / "out/pair") == flow_names(1));
  const auto names = flow_names(14);
  for (size_t k = 0; k < 14; ++k) {
    const fs::path same = k < 10 ? folder / "out/head" / names[k] : folder / "out/tail" / names[k - 10];
    INFO(names[k]);
    CHECK((bytes_of(folder / "out/long" / names[k]) == bytes_of(same)));
  }
  for (size_t k = 0; k < 4; ++k)
    CHECK((bytes_of(folder / "out/five" / names[k]) == bytes_of(folder / "out/tail" / names[k])));
}

TEST_CASE(
    "flag --native is half the network's size, and the full flow is that, resized and in its own pixels") {
  const TemporaryFolder folder;
  const fs::path w = weights(folder);
  write_frames(folder / "square", {0, 2}, {64, 64});
  write_frames(folder / "odd", {0, 2}, {70, 100});
  for (const char* name : {"square", "odd"}) {
    INFO(name);
    require_flow(w, folder / name, folder / "full");
    require_flow(w, folder / name, folder / "native", "--native");
    const Flow full = read_flo((folder / "full" / name / "flow_00001.flo").string()),
               native = read_flo((folder / "native" / name / "flow_00001.flo").string());
    const bool odd = std::string(name) == "odd";
    CHECK(full.size() == (odd ? Size{70, 100} : Size{64, 64}));
    CHECK(native.size() == (odd ? Size{32, 48} : Size{32, 32}));  // 100x70 is nearest to 96x64
    double length = 0;
    for (const float v : native.uv) length = std::max(length, std::fabs(double{v}));
    CHECK(length > 1e-3);
    CHECK(largest_difference(full, resized(native, full.size())) < 1e-4 * length);
  }
}

TEST_CASE("frames that are no multiples of 32 are resized to the nearest, or to --height and --width") {
  const TemporaryFolder folder;
  const fs::path w = weights(folder);
  write_frames(folder / "odd", {0, 2}, {70, 100});
  fs::create_directories(folder / "near");
  fs::create_directories(folder / "wide");
  for (int k = 0; k < 2; ++k) {
    const Image image = frame(k, {70, 100});
    const std::string name = "img_0000" + std::to_string(k + 1) + ".png";
    write_png((folder / "near" / name).string(), resize_bilinear(image, {64, 96}));
    write_png((folder / "wide" / name).string(), resize_bilinear(image, {96, 128}));
  }
  require_flow(w, folder / "odd", folder / "out", "--native");
  require_flow(w, folder / "near", folder / "out", "--native");
  CHECK((bytes_of(folder / "out/odd/flow_00001.flo") == bytes_of(folder / "out/near/flow_00001.flo")));
  require_flow(w, folder / "odd", folder / "given", "--native --height 96 --width 128");
  require_flow(w, folder / "wide", folder / "out", "--native");
  CHECK((bytes_of(folder / "given/odd/flow_00001.flo") == bytes_of(folder / "out/wide/flow_00001.flo")));
  write_frames(folder / "small", {0, 2}, {20, 30});
  require_flow(w, folder / "small", folder / "out");
  CHECK(read_flo((folder / "out/small/flow_00001.flo").string()).size() == Size{20, 30});
}

TEST_CASE("two images and their truth give the end-point error") {
  const TemporaryFolder folder;
  const fs::path w = weights(folder);
  write_png((folder / "first.png").string(), frame(0, {70, 100}));
  write_png((folder / "second.png").string(), frame(1, {70, 100}));
  const auto pair = [&](const std::string& truth, const std::vector<std::string>& more) {
    const Result result = flow(join(
        {"--weights", w.string(), "--data", (folder / "first.png").string(), (folder / "second.png").string(),
         "--truth", (folder / truth).string(), "--json", "--threads", "1"},
        more));
    INFO(result.err);
    REQUIRE(result.code == 0);
    return parse_only_line(result.out);
  };
  Flow truth;
  truth.reshape({70, 100});
  for (int64_t i = 0; i < 70; ++i) {
    for (int64_t j = 0; j < 100; ++j) {
      truth.at(i, j)[0] = i < 10 ? kUnknownFlow : 1.5f;
      truth.at(i, j)[1] = i < 10 ? kUnknownFlow : -2.f;
    }
  }
  write_flo((folder / "truth.flo").string(), truth);
  const json result = pair("truth.flo", {"--out", (folder / "out").string()});
  CHECK(result.at("zero_flow_epe").get<double>() == Approx(2.5));
  const Flow found = read_flo((folder / "out/first/flow_00001.flo").string());
  double sum = 0;
  for (int64_t i = 10; i < 70; ++i) {
    for (int64_t j = 0; j < 100; ++j) sum += std::hypot(found.at(i, j)[0] - 1.5, found.at(i, j)[1] + 2.0);
  }
  CHECK(result.at("epe").get<double>() == Approx(sum / 6000).epsilon(1e-6));
  // Its own flow is without error, and no folder is needed to learn so.
  write_flo((folder / "own.flo").string(), found);
  CHECK(pair("own.flo", {}).at("epe").get<double>() == 0);
  const Result text = flow({"--weights", w.string(), "--data", (folder / "first.png").string(),
                            (folder / "second.png").string(), "--truth", (folder / "truth.flo").string()});
  CHECK_THAT(text.out, Contains("EPE"));
}

TEST_CASE("validation and motionnet-flow agree on the error of synthetic clips") {
  const TemporaryFolder folder;
  const fs::path w = small_run(folder, "weights");
  const Result a = train(
                   words("--validate --json --preset tiny --threads 1 --data synthetic:count=3 --weights " +
                         w.string())),
               b = flow(words(
                   "--json --threads 1 --data synthetic:count=3,size=64x64,frames=2,split=train --weights " +
                   w.string()));
  INFO(a.err << b.err);
  const json first = parse_only_line(a.out), second = parse_only_line(b.out);
  CHECK(first.at("epe").get<double>() == Approx(second.at("epe").get<double>()).epsilon(1e-6));
  CHECK(first.at("zero_flow").at("epe").get<double>() ==
        Approx(second.at("zero_flow_epe").get<double>()).epsilon(1e-6));
}

TEST_CASE("a signal stops it, what is finished is whole, and the next run goes on") {
  const TemporaryFolder folder;
  const fs::path w = weights(folder);
  const auto start = [&](const std::string& out, int count) {
    return std::make_unique<Process>(
        "motionnet-flow",
        words("--data synthetic:count=" + std::to_string(count) + " --threads 1 --weights " + w.string() +
              " --out " + (folder / out).string()));
  };
  const auto finished = [&](const std::string& out) {
    auto names = names_in(folder / out);
    std::erase_if(names, [](const std::string& name) { return name[0] == '.'; });
    return names;
  };
  for (const int signal : {SIGTERM, SIGKILL}) {
    CAPTURE(signal);
    const std::string out = "out" + std::to_string(signal);
    const auto process = start(out, 120);
    while (process->running() && finished(out).size() < 3) {
    }
    process->kill(signal);
    const Result result = process->wait();
    if (signal == SIGTERM) {
      CHECK(result.code == 75);
      CHECK_THAT(last_line(result.err), Contains("stopped by a signal"));
      CHECK(finished(out) == names_in(folder / out));  // nothing in the making is left
    }
    const auto before = finished(out);
    REQUIRE(before.size() < 120);
    std::map<std::string, fs::file_time_type> times;
    for (const std::string& item : before) {
      CHECK(flow_names_in(folder / out / item) == flow_names(1));
      times[item] = fs::last_write_time(folder / out / item / "flow_00001.flo");
    }
    const Result rest = start(out, 120)->wait();
    INFO(rest.err);
    REQUIRE(rest.code == 0);
    CHECK_THAT(rest.out,
               Contains("120 videos") && Contains(std::to_string(before.size()) + " finished before"));
    CHECK(names_in(folder / out).size() == 120);
    for (const auto& [item, time] : times)
      CHECK((fs::last_write_time(folder / out / item / "flow_00001.flo") == time));
  }
  CHECK(start("whole", 120)->wait().code == 0);
  for (const std::string& item : names_in(folder / "whole")) {
    const std::string whole = bytes_of(folder / "whole" / item / "flow_00001.flo");
    CHECK((bytes_of(folder / ("out" + std::to_string(SIGTERM)) / item / "flow_00001.flo") == whole));
    CHECK((bytes_of(folder / ("out" + std::to_string(SIGKILL)) / item / "flow_00001.flo") == whole));
  }
}

TEST_CASE("a real video of 320x240 gives one flow per pair of its frames") {
  const auto video = test_data("ucf101/v_Biking_g05_c02.avi");
  if (!video || !video_built_in()) return;
  const TemporaryFolder folder;
  const fs::path w = weights(folder);
  require_flow(w, *video, folder / "out", "--native");
  const auto names = flow_names_in(folder / "out/v_Biking_g05_c02");
  CHECK(names == flow_names(static_cast<int>(names.size())));
  CHECK(names.size() > 50);
  CHECK(read_flo((folder / "out/v_Biking_g05_c02" / names.back()).string()).size() == Size{128, 160});
}
