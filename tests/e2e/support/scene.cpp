#include "tests/e2e/support/scene.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <thread>

#include "data/video.h"
#include "tests/catch.h"

namespace millrace::test {

using Catch::Matchers::Contains;

std::vector<std::string> tiny() {
  return words("--preset tiny --channels 0.05 --batch 2 --threads 1 --validation-clips 2");
}

fs::path small_run(const TemporaryFolder& folder, const std::string& name, const std::string& more) {
  const fs::path run = folder / name;
  const Result result = train(
      join(join({"--data", "synthetic:", "--out", run.string(), "--iterations", "3"}, tiny()), words(more)));
  INFO(result.err);
  REQUIRE(result.code == 0);
  return run;
}

Image frame(int64_t k, Size size) {
  Image image;
  image.reshape(size, 3);
  for (int64_t i = 0; i < size.height; ++i) {
    for (int64_t j = 0; j < size.width; ++j) {
      const double x = static_cast<double>(j) - 1.5 * static_cast<double>(k),
                   y = static_cast<double>(i) + .75 * static_cast<double>(k);
      for (int c = 0; c < 3; ++c) {
        const double wave = std::sin(.23 * x + c) + std::sin(.31 * y - c) + std::sin(.11 * (x + y));
        image.at(i, j)[c] = static_cast<uint8_t>(128 + 40 * wave);
      }
    }
  }
  return image;
}

void write_frames(const fs::path& folder, FrameSpan span, Size size) {
  fs::create_directories(folder);
  for (int64_t k = 0; k < span.count; ++k) {
    char name[32];
    std::snprintf(name, sizeof name, "img_%05d.png", static_cast<int>(k + 1));
    write_png((folder / name).string(), frame(span.first + k, size));
  }
}

std::string bytes_of(const fs::path& file) {
  INFO(file);
  REQUIRE(fs::is_regular_file(file));
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

void wait_for_lines(Process& process, const fs::path& run, size_t lines) {
  const auto written = [&] {
    std::ifstream stream(run / "metrics.jsonl");
    return static_cast<size_t>(std::count(std::istreambuf_iterator<char>(stream), {}, '\n'));
  };
  while (process.running() && written() < lines) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

std::vector<json> metrics_of(const fs::path& run) {
  std::vector<json> result;
  for (const std::string& line : lines_of(bytes_of(run / "metrics.jsonl")))
    result.push_back(json::parse(line));
  return result;
}

json parse_only_line(const std::string& out) {
  INFO(out);
  REQUIRE(lines_of(out).size() == 1);
  REQUIRE(out.back() == '\n');
  return json::parse(out);
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  if (!fs::is_directory(folder)) return names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> flow_names_in(const fs::path& folder) {
  std::vector<std::string> names = names_in(folder);
  INFO(folder);
  if (!names.empty()) REQUIRE(std::erase(names, "done.json") == 1);
  return names;
}

json header_of(const fs::path& file) {
  const std::string bytes = bytes_of(file);
  uint64_t length = 0;
  REQUIRE(bytes.size() > sizeof length);
  std::memcpy(&length, bytes.data(), sizeof length);
  return json::parse(bytes.substr(sizeof length, length));
}

fs::path latest_of(const fs::path& run) {
  const std::vector<std::string> lines = lines_of(bytes_of(run / "checkpoints" / "latest"));
  REQUIRE(lines.size() == 1);
  const fs::path folder = run / "checkpoints" / lines[0];
  REQUIRE(fs::is_directory(folder));
  return folder;
}

std::vector<std::string> term_names() {
  std::vector<std::string> names;
  for (const char* term : {"pixel", "smooth_u", "smooth_v", "ssim"}) {
    for (int level = 2; level <= 6; ++level) names.push_back(term + std::to_string(level));
  }
  return names;
}

void require_failure(const Result& result, const Expected& expected) {
  INFO("stderr: " << result.err << "\nstdout: " << result.out);
  REQUIRE(result.signal == 0);
  REQUIRE(result.code == expected.code);
  CHECK(result.out.empty());
  const std::string line = last_line(result.err);
  const auto is_own = [](const std::string& l) {
    return l.rfind("motionnet-", 0) == 0 || l.rfind("twostream-", 0) == 0 || l.rfind("millrace-", 0) == 0;
  };
  CHECK(is_own(line));
  CHECK(line.size() < 600);
  for (const std::string& part : expected.parts) CHECK_THAT(line, Contains(part));
  // Said once: no second line of the program's own, no stack of causes.
  int own = 0;
  for (const std::string& l : lines_of(result.err)) own += is_own(l);
  CHECK(own == 1);
}

std::optional<fs::path> test_data(const std::string& inside) {
  const char* folder = std::getenv("MILLRACE_TEST_DATA");
  const fs::path path = fs::path(folder ? folder : "") / inside;
  if (folder && *folder && fs::exists(path)) return path;
  std::cout << "skipped: " << inside << " of MILLRACE_TEST_DATA is not there\n";
  return std::nullopt;
}

bool video_built_in() {
  if (have_video()) return true;
  std::cout << "skipped: built without FFmpeg\n";
  return false;
}

}  // namespace millrace::test
