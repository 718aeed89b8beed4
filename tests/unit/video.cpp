// Video files. Small ones are written here as uncompressed AVI, so that no encoder and no download is needed.
#include "data/video.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>

#include "avi.h"
#include "core/error.h"
#include "core/files.h"
#include "core/rng.h"
#include "data/loader.h"
#include "data/source.h"
#include "temporary_folder.h"
#include "tests/catch.h"

using namespace millrace;
using Catch::Matchers::Contains;
using test::make_avi;
using test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

Image numbered_frame(int64_t k, Size size) {
  Image image;
  image.reshape(size, 3);
  for (size_t p = 0; p < image.pixels.size(); ++p) {
    image.pixels[p] = static_cast<uint8_t>(static_cast<size_t>(k) * 17 + p * p % 251);
  }
  return image;
}

std::vector<Image> numbered_frames(int64_t count, Size size = {12, 10}) {
  std::vector<Image> frames;
  for (int64_t k = 0; k < count; ++k) frames.push_back(numbered_frame(k, size));
  return frames;
}

std::string write_avi(const fs::path& path, int64_t count, Size size = {12, 10}) {
  write_file_atomically(path, make_avi(numbered_frames(count, size), count));
  return path.string();
}

std::string data_error(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.kind() == ErrorKind::data ? error.what() : fmt::format("of another kind: {}", error.what());
  }
  return "no error";
}

struct Opened {
  SourcePtr source;
  std::shared_ptr<std::vector<std::string>> warnings;
};

Opened open(const fs::path& path, int64_t cache_bytes = 1 << 28) {
  const auto warnings = std::make_shared<std::vector<std::string>>();
  const auto warn = [warnings](const std::string& text) { warnings->push_back(text); };
  return {open_source({.spec = path.string(), .min_frames = 2, .cache_bytes = cache_bytes, .warn = warn}),
          warnings};
}

bool skip_without_video() {
  if (!have_video()) WARN("skipped: built without FFmpeg's libraries");
  return !have_video();
}

// Empty, with the reason printed, where the real clips are not.
fs::path real_data() {
  if (skip_without_video()) return {};
  const char* folder = std::getenv("MILLRACE_TEST_DATA");
  if (folder == nullptr) WARN("skipped: MILLRACE_TEST_DATA names no folder of real data");
  return folder == nullptr ? fs::path() : fs::path(folder);
}

}  // namespace

TEST_CASE("without FFmpeg a video is an error that names the packages") {
  if (have_video()) {
    WARN("skipped: built with FFmpeg's libraries");
    return;
  }
  CHECK_THAT(data_error([] { count_video_packets("a.avi"); }), Contains("libavformat-dev"));
}

TEST_CASE("every frame, in order, with its own pixels, at odd sizes") {
  if (skip_without_video()) return;
  const TemporaryFolder folder;
  for (const Size size : {Size{12, 10}, Size{7, 13}, Size{33, 65}}) {
    const std::string path = write_avi(folder / "a.avi", 9, size);
    CHECK(count_video_packets(path) == 9);
    int64_t seen = 0;
    const VideoIndex index = index_video(path, [&](int64_t k, Image& image) {
      CHECK(k == seen++);
      CHECK(image.pixels == numbered_frame(k, size).pixels);
    });
    CHECK(index.frames == 9);
    CHECK(index.size == size);
    CHECK(index.warnings.empty());
  }
}

TEST_CASE("ranges are exact, with the file's times and without") {
  if (skip_without_video()) return;
  const TemporaryFolder folder;
  const std::string path = write_avi(folder / "a.avi", 9);
  VideoIndex index = index_video(path, [](int64_t, Image&) {});
  CHECK(index.times.size() == 9);
  for (const bool with_times : {true, false}) {
    if (!with_times) index.times.clear();
    for (int64_t first = 0; first < 9; ++first) {
      int64_t next = first;
      decode_video(path, index, {.first = first, .count = std::min<int64_t>(3, 9 - first)},
                   [&](int64_t k, Image& image) {
                     CHECK(k == next++);
                     CHECK(image.pixels == numbered_frame(k, {12, 10}).pixels);
                   });
      CHECK(next == std::min<int64_t>(first + 3, 9));
    }
  }
  CHECK_THAT(data_error([&] { decode_video(path, index, {.first = 8, .count = 2}, [](int64_t, Image&) {}); }),
             Contains("a.avi"));
}

TEST_CASE("a source keeps small videos whole and large ones in parts, with the same frames") {
  if (skip_without_video()) return;
  const TemporaryFolder folder;
  const std::string path = write_avi(folder / "clip.avi", 40);
  for (const int64_t cache_bytes : {1 << 28, 360 * 20, 100}) {
    const auto [source, warnings] = open(path, cache_bytes);
    CHECK(source->name(0) == "clip");
    CHECK(source->length(0) == 40);
    CHECK(source->rate(0) == 25);
    CHECK(last_frames(take_items(source, {0}), 3)->rate(0) == 25);
    for (const int64_t first : {0, 5, 7, 8, 30, 37}) {
      const Clip clip = source->read({.item = 0, .first = first, .count = 11});
      for (int64_t k = 0; k < 11; ++k) {
        CHECK(clip.frames[static_cast<size_t>(k)].pixels ==
              numbered_frame(std::min<int64_t>(first + k, 39), {12, 10}).pixels);
      }
    }
  }
}

TEST_CASE("a truncated video gives the frames that are there, and a warning") {
  if (skip_without_video()) return;
  const TemporaryFolder folder;
  const std::string whole = make_avi(numbered_frames(9), 9);
  const size_t frame_bytes = 8 + 32 * 12;
  const size_t header_bytes = whole.find("movi") + 4;
  write_file_atomically(folder / "cut.avi", whole.substr(0, header_bytes + 4 * frame_bytes + 100));
  const auto [source, warnings] = open(folder / "cut.avi");
  CHECK(source->length(0) >= 4);
  CHECK(source->length(0) <= 5);
  CHECK(source->read({.item = 0, .first = 3, .count = 1}).frames[0].pixels ==
        numbered_frame(3, {12, 10}).pixels);
  REQUIRE_FALSE(warnings->empty());
  CHECK_THAT(warnings->at(0), Contains("cut.avi"));
  // At any length: some frames or an error, never a crash.
  for (size_t length = 0; length < whole.size(); length += 61) {
    write_file_atomically(folder / "any.avi", whole.substr(0, length));
    try {
      const int64_t frames = open(folder / "any.avi").source->length(0);
      CHECK(frames <= 9);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::data);
      CHECK_THAT(error.what(), Contains("any.avi"));
    }
  }
}

TEST_CASE("what is no usable video is a data error that names it") {
  if (skip_without_video()) return;
  const TemporaryFolder folder;
  write_file_atomically(folder / "empty.avi", "");
  CHECK_THAT(data_error([&] { open(folder / "empty.avi"); }),
             Contains("empty.avi") && Contains("an empty file"));
  write_file_atomically(folder / "text.mp4", "this is no video at all\n");
  CHECK_THAT(data_error([&] { open(folder / "text.mp4"); }), Contains("text.mp4") && Contains("a video"));
  write_avi(folder / "one.avi", 1);
  CHECK_THAT(data_error([&] { open(folder / "one.avi"); }),
             Contains("at least 2 frames") && Contains("at most 1"));
  // A playlist does not lead to other files.
  write_avi(folder / "other.avi", 3);
  write_file_atomically(folder / "list.m3u8", "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n");
  CHECK_THAT(data_error([&] { open(folder / "list.m3u8"); }), Contains("list.m3u8"));
}

TEST_CASE("in a folder the broken and the short are left out with a warning") {
  if (skip_without_video()) return;
  const TemporaryFolder folder;
  fs::create_directories(folder / "class");
  write_avi(folder / "class/good.avi", 5);
  write_avi(folder / "class/short.avi", 1);
  write_file_atomically(folder / "class/broken.avi", "RIFF");
  write_file_atomically(folder / "class/notes.txt", "not looked at");
  const auto [source, warnings] = open(folder.path());
  REQUIRE(source->size() == 1);
  CHECK(source->name(0) == "class/good");
  CHECK(source->read({.item = 0, .first = 4, .count = 1}).frames[0].pixels ==
        numbered_frame(4, {12, 10}).pixels);
  CHECK(warnings->size() == 2);
  for (int k = 0; k < 6; ++k)
    write_avi(folder / fmt::format("more{}.avi", k), 3 + k);  // not decoded at opening
  const auto more = open(folder.path());
  CHECK(more.source->size() == 7);
  CHECK(more.warnings->size() == 2);
  write_avi(folder / "more1.mp4", 3);
  const auto twins = open(folder.path());
  CHECK(twins.source->name(1) == "more1.avi");
  CHECK(twins.source->name(2) == "more1.mp4");
}

TEST_CASE("loaders on videos: the same batches for any number of threads and any cache") {
  if (skip_without_video()) return;
  const TemporaryFolder folder;
  for (int k = 0; k < 5; ++k) write_avi(folder / fmt::format("v{}.avi", k), 6 + 3 * k, {20, 30});
  std::vector<uint8_t> expected;
  for (const int64_t cache_bytes : {int64_t{1} << 28, int64_t{20000}, int64_t{1}}) {
    for (const int64_t threads : {1, 4}) {
      LoaderOptions options;
      options.batch = 4;
      options.frames = 3;
      options.threads = threads;
      options.clips_per_item = 2;
      options.geometry = {.network = {16, 24}, .crop = Crop::random, .resize = {}, .mirror = 0.5};
      Loader loader(open(folder.path(), cache_bytes).source, options);
      std::vector<uint8_t> seen;
      for (int k = 0; k < 6; ++k) {
        const Batch batch = loader.next();
        seen.insert(seen.end(), batch.frames, batch.frames + 4 * 16 * 24 * 9);
      }
      if (expected.empty()) expected = seen;
      CHECK(seen == expected);
    }
  }
}

TEST_CASE("real videos have the frames that OpenCV finds") {
  const fs::path data = real_data();
  if (data.empty()) return;
  struct Case {
    const char* path;
    int64_t frames;
    Size size;
  };
  // cv2.VideoCapture, OpenCV 4.10.
  const Case cases[] = {
      {"fights320/fight/fi079.mp4", 71, {240, 320}},
      {"hmdb51/RATRACE_wave_f_nm_np1_fr_goo_37.avi", 72, {240, 560}},
      {"hmdb51/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi", 74, {240, 320}},
      {"hmdb51/TrumanShow_wave_f_nm_np1_fr_med_26.avi", 48, {240, 432}},
      {"hmdb51/hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi", 83, {240, 320}},
      {"ucf101/v_ApplyEyeMakeup_g01_c01.avi", 164, {240, 320}},
      {"ucf101/v_Biking_g05_c02.avi", 201, {240, 320}},
      {"ucf101/v_SoccerJuggling_g23_c01.avi", 240, {240, 320}},
      {"ucf101/v_SoccerJuggling_g24_c01.avi", 251, {240, 320}},
  };
  for (const Case& c : cases) {
    INFO(c.path);
    const std::string path = data / c.path;
    std::vector<uint64_t> hashes;
    const auto hash = [](const Image& image) {
      return hash_name({reinterpret_cast<const char*>(image.pixels.data()), image.pixels.size()});
    };
    const VideoIndex index = index_video(path, [&](int64_t, Image& image) { hashes.push_back(hash(image)); });
    CHECK(index.frames == c.frames);
    CHECK(index.size == c.size);
    for (const int64_t first : {int64_t{0}, c.frames / 3, c.frames / 2 + 1, c.frames - 5}) {
      decode_video(path, index, {.first = first, .count = 5},
                   [&](int64_t k, Image& image) { CHECK(hash(image) == hashes[static_cast<size_t>(k)]); });
    }
  }
}

TEST_CASE("a real video that is cut gives what is left of it") {
  const fs::path data = real_data();
  if (data.empty()) return;
  const TemporaryFolder folder;
  const std::string whole = read_file(data / "ucf101/v_Biking_g05_c02.avi", 1 << 24);
  write_file_atomically(folder / "half.avi", whole.substr(0, whole.size() / 2));
  const auto [source, warnings] = open(folder / "half.avi");
  CHECK(source->length(0) > 50);
  CHECK_FALSE(warnings->empty());
  // Damage inside: some frames, the same each time.
  std::string damaged = whole;
  for (size_t k = whole.size() / 3; k < whole.size() / 3 + 3000; ++k) damaged[k] = static_cast<char>(k * 131);
  write_file_atomically(folder / "damaged.avi", damaged);
  const auto read_all = [&] {
    uint64_t hash = 0;
    index_video(folder / "damaged.avi", [&](int64_t, Image& image) {
      hash =
          mix64(hash + hash_name({reinterpret_cast<const char*>(image.pixels.data()), image.pixels.size()}));
    });
    return hash;
  };
  CHECK(read_all() == read_all());
}
