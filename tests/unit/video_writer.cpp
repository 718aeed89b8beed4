// Videos are written, and read back as what they were.
#include "data/video_writer.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "core/error.h"
#include "core/files.h"
#include "data/video.h"
#include "file_size_limit.h"
#include "message_of.h"
#include "temporary_folder.h"
#include "tests/catch.h"

using namespace millrace;
using Catch::Matchers::Contains;
using test::FileSizeLimit;
using test::message_of;
using test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

// Smooth in space, so that halved colours change it little; another brightness in each picture.
Image picture(int64_t k, Size size) {
  Image image;
  image.reshape(size, 3);
  for (int64_t i = 0; i < size.height; ++i) {
    for (int64_t j = 0; j < size.width; ++j) {
      for (int c = 0; c < 3; ++c) {
        const double wave = std::sin(.05 * static_cast<double>(i + 2 * j) + c);
        image.at(i, j)[c] = static_cast<uint8_t>(60 + 8 * static_cast<double>(k) + 40 * wave);
      }
    }
  }
  return image;
}

double mean_difference(const Image& a, const Image& b, Size size) {
  double sum = 0;
  for (int64_t i = 0; i < size.height; ++i) {
    for (int64_t j = 0; j < size.width; ++j) {
      for (int c = 0; c < 3; ++c) sum += std::abs(int{a.at(i, j)[c]} - int{b.at(i, j)[c]});
    }
  }
  return sum / static_cast<double>(3 * size.height * size.width);
}

// What no encoder makes small.
Image noise(uint32_t seed, Size size) {
  Image image;
  image.reshape(size, 3);
  for (uint8_t& value : image.pixels)
    value = static_cast<uint8_t>((seed = seed * 1664525 + 1013904223) >> 24);
  return image;
}

bool skipped() {
  if (have_video()) return false;
  std::cout << "skipped: built without FFmpeg\n";
  return true;
}

}  // namespace

TEST_CASE("every container gives the pictures back, in their order") {
  if (skipped()) return;
  const TemporaryFolder folder;
  for (const Size size : {Size{48, 64}, Size{33, 51}}) {
    for (const char* name : {"a.mp4", "a.mkv", "a.mov", "a.avi"}) {
      INFO(name << " " << size.width << "x" << size.height);
      const std::string path = folder / (std::to_string(size.width) + name);
      VideoWriter writer({.path = path, .size = size, .rate = 10});
      for (int64_t k = 0; k < 12; ++k) {
        writer.add(picture(k, size));
        CHECK_FALSE(fs::exists(path));
      }
      writer.finish();
      int64_t pictures = 0;
      const VideoIndex index = index_video(path, [&](int64_t k, Image& image) {
        ++pictures;
        // Odd sizes are made even.
        REQUIRE(image.size() == Size{(size.height + 1) / 2 * 2, (size.width + 1) / 2 * 2});
        CHECK(mean_difference(image, picture(k, size), size) < 4);  // 8 lie between neighbours
      });
      CHECK(pictures == 12);
      CHECK(index.warnings.empty());
    }
  }
}

TEST_CASE("equal pictures give equal files") {
  if (skipped()) return;
  const TemporaryFolder folder;
  const auto write = [&](const std::string& name) {
    VideoWriter writer({.path = folder / name, .size = {32, 32}});
    for (int64_t k = 0; k < 5; ++k) writer.add(picture(k, {32, 32}));
    writer.finish();
    return read_file(folder / name, 1 << 20);
  };
  CHECK((write("a.mp4") == write("b.mp4")));
}

TEST_CASE("a video that is not finished leaves what was there, and nothing else") {
  if (skipped()) return;
  const TemporaryFolder folder;
  write_file_atomically(folder / "a.mp4", "mine");
  {
    VideoWriter writer({.path = folder / "a.mp4", .size = {32, 32}});
    writer.add(picture(0, {32, 32}));
    CHECK_THAT(message_of([&] { writer.add(picture(1, {32, 48})); }), Contains("32x32") && Contains("48x32"));
  }
  CHECK(read_file(folder / "a.mp4", 100) == "mine");
  CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("a disk that gets full within a video, or at its end, says so and leaves what was there") {
  if (skipped()) return;
  const Size size{256, 384};
  for (const std::string name : {"a.mp4", "a.mkv", "a.avi"}) {
    const TemporaryFolder folder;
    const fs::path path = folder / name;
    const auto write = [&] {
      VideoWriter writer({.path = path, .size = size});
      for (uint32_t k = 0; k < 12; ++k) writer.add(noise(k, size));
      writer.finish();
    };
    write();
    const uint64_t whole = fs::file_size(path);
    REQUIRE(whole > 400'000);  // more than is kept back before it is written
    write_file_atomically(path, "mine");
    for (const uint64_t room : {uint64_t{0}, uint64_t{1000}, whole / 2, whole - 1}) {
      INFO(name << ": room for " << room << " of " << whole << " bytes");
      const FileSizeLimit limit(room);
      try {
        write();
        FAIL("no error");
      } catch (const Error& e) {
        CHECK(e.kind() == ErrorKind::runtime);
        CHECK_THAT(e.what(), Contains("[" + path.string() + "]") && Contains("File too large"));
      }
      CHECK(read_file(path, 100) == "mine");
      CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
    }
    write();
    CHECK(fs::file_size(path) == whole);
  }
}

TEST_CASE("videos that cannot be written say why") {
  if (skipped()) return;
  const TemporaryFolder folder;
  const auto error_of = [&](const VideoWriterOptions& o) { return message_of([&] { VideoWriter{o}; }); };
  CHECK_THAT(error_of({.path = folder / "a.txt", .size = {32, 32}}), Contains(".mp4, .mkv"));
  CHECK_THAT(error_of({.path = folder / "a.mp4", .size = {0, 32}}), Contains("32x0"));
  CHECK_THAT(error_of({.path = folder / "a.mp4", .size = {32, 9000}}), Contains("9000x32"));
  CHECK_THAT(error_of({.path = folder / "a.mp4", .size = {32, 32}, .rate = 0}), Contains("a second"));
  CHECK_THAT(error_of({.path = folder / "none/a.mp4", .size = {32, 32}}), Contains("none"));
}
