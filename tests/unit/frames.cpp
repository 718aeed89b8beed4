// Folders of frames, and what open_source makes of a path.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <thread>

#include "core/error.h"
#include "core/files.h"
#include "data/flow_files.h"
#include "data/frame_cache.h"
#include "data/frame_folder.h"
#include "data/source.h"
#include "temporary_folder.h"
#include "tests/catch.h"

using namespace millrace;
using Catch::Matchers::Contains;
using test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

Image gray(uint8_t value, Size size = {6, 8}) {
  Image image;
  image.reshape(size, 3);
  std::fill(image.pixels.begin(), image.pixels.end(), value);
  return image;
}

// Frame k of the folder is `first_value + k` everywhere. `pattern` is like "img_{:05}.png".
void write_frames(const fs::path& folder, const std::string& pattern, int64_t start, int64_t count,
                  int first_value = 0) {
  fs::create_directories(folder);
  for (int64_t k = 0; k < count; ++k) {
    write_png((folder / fmt::format(fmt::runtime(pattern), start + k)).string(),
              gray(static_cast<uint8_t>(first_value + k)));
  }
}

struct Opened {
  SourcePtr source;
  std::shared_ptr<std::vector<std::string>> warnings;
};

Opened open(const fs::path& path, int64_t min_frames = 2) {
  const auto warnings = std::make_shared<std::vector<std::string>>();
  const auto warn = [warnings](const std::string& text) { warnings->push_back(text); };
  return {open_source({.spec = path.string(), .min_frames = min_frames, .warn = warn}), warnings};
}

std::string data_error(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.kind() == ErrorKind::data ? error.what() : fmt::format("of another kind: {}", error.what());
  }
  return "no error";
}

std::string open_error(const fs::path& path) {
  return data_error([&] { open(path); });
}

}  // namespace

TEST_CASE("the usual patterns, from 0 or 1") {
  const TemporaryFolder folder;
  for (const std::string pattern : {"img_{:05}.png", "image_{:04}.png", "frame{:06}.png", "{}.png"}) {
    for (const int64_t start : {0, 1, 98}) {
      const fs::path frames = folder / fmt::format("{}_{}", pattern.substr(0, 3), start);
      write_frames(frames, pattern, start, 4);
      const auto [source, warnings] = open(frames);
      CHECK(warnings->empty());
      REQUIRE(source->size() == 1);
      CHECK(source->length(0) == 4);
      CHECK(source->name(0) == frames.filename().string());
      CHECK_FALSE(source->has_truth());
      const Clip clip = source->read({.item = 0, .first = 1, .count = 3, .want_truth = true});
      REQUIRE(clip.frames.size() == 3);
      CHECK(clip.frames[0].pixels[0] == 1);
      CHECK(clip.frames[2].pixels[0] == 3);
      REQUIRE(clip.truth.size() == 2);
      CHECK_FALSE(is_known(clip.truth[0].at(0, 0)));
    }
  }
}

TEST_CASE("numbers are ordered as numbers, and past the end the last frame is repeated") {
  const TemporaryFolder folder;
  write_frames(folder.path(), "img_{}.png", 8, 4);  // img_10 sorts before img_8 as text
  const auto [source, warnings] = open(folder.path());
  const Clip clip = source->read({.item = 0, .first = 0, .count = 6});
  for (size_t k = 0; k < 6; ++k) CHECK(clip.frames[k].pixels[0] == std::min<size_t>(k, 3));
}

TEST_CASE("a folder of folders, nested, with a trailing slash") {
  const TemporaryFolder folder;
  write_frames(folder / "walk/b", "img_{:05}.png", 1, 3, 20);
  write_frames(folder / "walk/a", "img_{:05}.png", 1, 3, 10);
  write_frames(folder / "run", "image_{:04}.png", 0, 3, 30);
  fs::create_directories(folder / "empty");
  write_file_atomically(folder / "README.txt", "not a frame");
  const auto [source, warnings] = open(folder.path().string() + "/");
  REQUIRE(source->size() == 3);
  CHECK(source->name(0) == "run");
  CHECK(source->name(1) == "walk/a");
  CHECK(source->name(2) == "walk/b");
  CHECK(source->read({.item = 2, .first = 0, .count = 1}).frames[0].pixels[0] == 20);
}

TEST_CASE("too short, broken and gappy folders are left out with a warning that names them") {
  const TemporaryFolder folder;
  write_frames(folder / "good", "img_{:05}.png", 1, 3, 50);
  write_frames(folder / "a_short", "img_{:05}.png", 1, 1);
  write_frames(folder / "gap", "img_{:05}.png", 1, 2);
  write_frames(folder / "gap", "img_{:05}.png", 4, 2);
  const auto [source, warnings] = open(folder.path());
  REQUIRE(source->size() == 1);
  CHECK(source->name(0) == "good");
  // The numbering of items changed; what was kept in memory must not be mixed up.
  CHECK(source->read({.item = 0, .first = 0, .count = 1}).frames[0].pixels[0] == 50);
  REQUIRE(warnings->size() == 2);
  CHECK_THAT(warnings->at(0), Contains("gap") && Contains("frame 3"));
  CHECK_THAT(warnings->at(1), Contains("a_short") && Contains("1 frame,"));
}

TEST_CASE("nothing usable is a data error that says what was looked for") {
  const TemporaryFolder folder;
  CHECK_THAT(open_error(folder / "missing"), Contains("missing") && Contains("no such"));
  CHECK_THAT(open_error(folder.path()), Contains("img_00001.jpg"));
  fs::create_directories(folder / "a/b/c");
  CHECK_THAT(open_error(folder.path()), Contains("img_00001.jpg"));
  write_frames(folder / "one", "img_{:05}.png", 1, 1);
  CHECK_THAT(open_error(folder / "one"), Contains("at least 2 frames") && Contains("at most 1"));
  write_frames(folder / "gap", "img_{:05}.png", 1, 1);
  write_frames(folder / "gap", "img_{:05}.png", 3, 1);
  CHECK_THAT(open_error(folder / "gap"), Contains("frame 2") && Contains("img_00003.png"));
  CHECK_THAT(data_error([] { open_source({.spec = ""}); }), Contains("no such"));
}

TEST_CASE("of several kinds of images the usual one is taken, else it is an error") {
  const TemporaryFolder folder;
  write_frames(folder / "tsn", "img_{:05}.png", 1, 3);
  write_frames(folder / "tsn", "flow_x_{:05}.png", 1, 2);
  write_frames(folder / "tsn", "flow_y_{:05}.png", 1, 2);
  CHECK(open(folder / "tsn").source->length(0) == 3);
  write_frames(folder / "pairs", "first_{}.png", 1, 2);
  write_frames(folder / "pairs", "second_{}.png", 1, 2);
  CHECK_THAT(open_error(folder / "pairs"), Contains("first_<number>.png") && Contains("second_"));
}

TEST_CASE("a broken or odd frame is an error that names the file") {
  const TemporaryFolder folder;
  write_frames(folder.path(), "img_{:05}.png", 1, 4);
  write_file_atomically(folder / "img_00003.png", "");
  write_png(folder / "img_00004.png", gray(1, {6, 9}));
  const auto [source, warnings] = open(folder.path());
  CHECK_THAT(data_error([&] { source->read({.item = 0, .first = 1, .count = 2}); }),
             Contains("img_00003.png") && Contains("empty"));
  write_png(folder / "img_00003.png", gray(1));  // a failure is not remembered
  CHECK(source->read({.item = 0, .first = 1, .count = 2}).frames[1].pixels[0] == 1);
  CHECK_THAT(data_error([&] { source->read({.item = 0, .first = 2, .count = 2}); }),
             Contains("img_00004.png") && Contains("9x6"));
}

TEST_CASE("flow beside the frames is their truth") {
  const TemporaryFolder folder;
  write_frames(folder.path(), "frame{}.png", 10, 3);
  Flow flow;
  flow.reshape({6, 8});
  std::fill(flow.uv.begin(), flow.uv.end(), 2.0f);
  write_flo(folder / "flow10.flo", flow);
  const SourcePtr source = open(folder.path()).source;
  CHECK(source->has_truth());
  const Clip clip = source->read({.item = 0, .first = 0, .count = 3, .want_truth = true});
  REQUIRE(clip.truth.size() == 2);
  CHECK(clip.truth[0].uv == flow.uv);
  CHECK_FALSE(is_known(clip.truth[1].at(0, 0)));
  CHECK(source->read({.item = 0, .first = 0, .count = 3}).truth.empty());
  flow.reshape({6, 7});
  write_flo(folder / "flow11.flo", flow);
  CHECK_THAT(data_error([&] {
               open(folder.path()).source->read({.item = 0, .first = 0, .count = 3, .want_truth = true});
             }),
             Contains("flow11.flo") && Contains("7x6"));
}

TEST_CASE("KITTI's flow beside the frames is their truth and no frame, and a .flo comes first") {
  for (const char* pattern : {"{}.png", "frame{}.png", "img_{}.png"}) {
    const TemporaryFolder folder;
    write_frames(folder.path(), pattern, 10, 3);
    Flow flow;
    flow.reshape({6, 8});
    std::fill(flow.uv.begin(), flow.uv.end(), 2.0f);
    write_kitti_png(folder / "flow10.png", flow);
    const SourcePtr source = open(folder.path()).source;
    CHECK(source->path(0) == folder.path());
    CHECK(source->length(0) == 3);
    Clip clip = source->read({.item = 0, .first = 0, .count = 3, .want_truth = true});
    CHECK(clip.truth.at(0).uv == flow.uv);
    CHECK_FALSE(is_known(clip.truth.at(1).at(0, 0)));
    std::fill(flow.uv.begin(), flow.uv.end(), 3.0f);
    write_flo(folder / "flow10.flo", flow);
    clip = open(folder.path()).source->read({.item = 0, .first = 0, .count = 3, .want_truth = true});
    CHECK(clip.truth.at(0).uv == flow.uv);
  }
  // Alone they are frames as others are.
  const TemporaryFolder folder;
  write_frames(folder.path(), "flow{}.png", 1, 3);
  CHECK(open(folder.path()).source->length(0) == 3);
  CHECK_FALSE(open(folder.path()).source->has_truth());
}

TEST_CASE("what is left out is told with its path") {
  const TemporaryFolder folder;
  write_frames(folder / "good", "img_{}.png", 1, 3);
  write_frames(folder / "short", "img_{}.png", 1, 1);
  write_frames(folder / "gap", "img_{}.png", 1, 2);
  fs::rename(folder / "gap/img_2.png", folder / "gap/img_3.png");
  std::vector<std::string> paths;
  open_source({.spec = folder.path(),
               .min_frames = 2,
               .warn = [](const std::string&) {},
               .left_out =
                   [&](const std::string& path, const std::string& reason) {
                     paths.push_back(path);
                     CHECK_THAT(reason, Contains(path.substr(path.rfind('/') + 1)));
                   }});
  CHECK(paths == std::vector<std::string>{folder / "gap", folder / "short"});
}

TEST_CASE("opening tells how far it is, broken and short items counted") {
  const TemporaryFolder folder;
  write_frames(folder / "a", "img_{:05}.png", 1, 3);
  write_frames(folder / "b", "img_{:05}.png", 1, 1);
  write_frames(folder / "c", "img_{:05}.png", 1, 3);
  std::vector<std::pair<int64_t, int64_t>> told;
  const SourcePtr source = open_source({.spec = folder.path().string(),
                                        .min_frames = 2,
                                        .warn = [](const std::string&) {},
                                        .progress =
                                            [&](int64_t done, int64_t total) {
                                              told.push_back({done, total});
                                            }});
  CHECK(source->size() == 2);
  CHECK(told == std::vector<std::pair<int64_t, int64_t>>{{0, 3}, {1, 3}, {2, 3}, {3, 3}});
}

TEST_CASE("frames can be resized when read, and flow with them") {
  const TemporaryFolder folder;
  write_frames(folder.path(), "frame{}.png", 0, 2);
  Flow flow;
  flow.reshape({6, 8});
  std::fill(flow.uv.begin(), flow.uv.end(), 2.0f);
  write_flo(folder / "flow0.flo", flow);
  const SourcePtr source = open_source({.spec = folder.path(), .frame_size = {3, 2}});
  const Clip clip = source->read({.item = 0, .first = 0, .count = 2, .want_truth = true});
  CHECK(clip.frames[1].size() == Size{3, 2});
  CHECK(clip.truth[0].at(1, 1)[0] == 0.5f);
  CHECK(clip.truth[0].at(1, 1)[1] == 1.0f);
}

TEST_CASE("held-out frames: the first part never sees the last") {
  const TemporaryFolder folder;
  write_frames(folder / "a", "img_{}.png", 0, 10);
  write_frames(folder / "b", "img_{}.png", 0, 3, 100);
  const SourcePtr all = open(folder.path()).source;
  const SourcePtr train = without_last_frames(all, 4), held_out = last_frames(all, 4);
  CHECK(train->length(0) == 6);
  CHECK(train->length(1) == 3);  // too short to share: all of it
  const Clip clip = train->read({.item = 0, .first = 4, .count = 4, .want_truth = true});
  CHECK(clip.frames[1].pixels[0] == 5);
  CHECK(clip.frames[3].pixels[0] == 5);
  CHECK(clip.truth.size() == 3);
  REQUIRE(held_out->size() == 1);
  CHECK(held_out->name(0) == "a");
  CHECK(held_out->length(0) == 4);
  CHECK(held_out->read({.item = 0, .first = 0, .count = 1}).frames[0].pixels[0] == 6);
  CHECK(held_out->read({.item = 0, .first = 3, .count = 2}).frames[1].pixels[0] == 9);
  CHECK_THAT(data_error([&] { last_frames(all, 10); }), Contains("10 frames"));
}

TEST_CASE("some items of a source") {
  const TemporaryFolder folder;
  for (int k = 0; k < 4; ++k) write_frames(folder / fmt::format("{}", k), "img_{}.png", 0, 2, 10 * k);
  const SourcePtr some = take_items(open(folder.path()).source, {3, 1});
  REQUIRE(some->size() == 2);
  CHECK(some->name(0) == "3");
  CHECK(some->read({.item = 1, .first = 0, .count = 1}).frames[0].pixels[0] == 10);
  CHECK_THAT(data_error([&] { take_items(some, {2}); }), Contains("0 to 1"));
  CHECK_THAT(data_error([&] { take_items(some, {}); }), Contains("none"));
}

TEST_CASE("synthetic specs open too, with enough frames") {
  CHECK(open("synthetic:frames=3,count=5").source->size() == 5);
  CHECK_THROWS_WITH(open("synthetic:frames=3", 11), Contains("11 frames"));
}

TEST_CASE("the cache decodes once for all threads, and keeps to its limit") {
  FrameCache cache(3 * 10 * 10 * 3);  // three images
  std::atomic<int> decoded = 0;
  const auto decode = [&] {
    ++decoded;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return std::vector<Image>{gray(9, {10, 10})};
  };
  std::vector<std::thread> threads;
  for (int k = 0; k < 4; ++k) threads.emplace_back([&] { cache.get({1, 1}, decode); });
  for (std::thread& thread : threads) thread.join();
  CHECK(decoded == 1);
  const Frames held = cache.get({1, 1}, decode);
  for (int k = 2; k < 5; ++k) cache.get({1, k}, decode);
  CHECK(decoded == 4);
  cache.get({1, 4}, decode);
  cache.get({1, 2}, decode);
  CHECK(decoded == 4);
  cache.get({1, 1}, decode);  // was the oldest
  CHECK(decoded == 5);
  CHECK(held->front().pixels[0] == 9);
  CHECK_THROWS_AS(cache.get({2, 0}, []() -> std::vector<Image> { throw std::runtime_error("no"); }),
                  std::runtime_error);
  CHECK(cache.get({2, 0}, decode)->size() == 1);
}

TEST_CASE("real frames with truth: RubberWhale") {
  const char* data = std::getenv("MILLRACE_TEST_DATA");
  if (data == nullptr) {
    WARN("skipped: MILLRACE_TEST_DATA names no folder of real data");
    return;
  }
  const SourcePtr source = open(fs::path(data) / "middlebury/RubberWhale").source;
  REQUIRE(source->length(0) == 2);
  CHECK(source->has_truth());
  const Clip clip = source->read({.item = 0, .first = 0, .count = 2, .want_truth = true});
  CHECK(clip.frames[0].size() == Size{388, 584});
  CHECK(is_known(clip.truth[0].at(200, 300)));
}
