// Speed of the loader: clips a second and core from folders of JPEG frames and from video.
//
//   build/bin/bench_loader
//   build/bin/bench_loader --video v_Biking_g05_c02.avi fi001.mp4 --json
//
// Clips of 11 frames, resized to 340x256 where they are not, and cut to 224x224. The JPEG frames (340x256,
// 4:2:0, about 22 kB) are written to a temporary folder. A real data set is far larger than memory, so the
// loader may keep next to nothing of what it decoded. A core's clips a second are clips by the processor time
// of the whole program, which other programs beside it hardly change; the clock's rate stands beside it. Goal
// G16: 170 clips a second and core from JPEG.
#include "data/loader.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/support/program.h"
#include "core/device.h"
#include "core/error.h"
#include "core/files.h"
#include "data/encode.h"
#include "data/synthetic.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr double kGoal = 170;
constexpr double kJpegBytes = 22000;
constexpr Size kFrame = {256, 340};
constexpr int64_t kFolders = 8, kFolderFrames = 40;

struct Arguments {
  std::vector<std::string> videos;
  std::string crop = "random";
  double seconds = 3;
  int64_t frames = 11, rounds = 3;
  std::vector<int64_t> threads = {1, 2};
  bool json = false;
};

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "bench-loader-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
      fail(ErrorKind::runtime, {.where = name, .expected = "a temporary folder", .got = "none"});
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// Moving textures with the noise of a camera: what natural frames need of a JPEG's bytes is mostly noise.
Image noisy_frame(const Image& clean, int64_t frame) {
  Image image = clean;
  const RandomStream stream = random_stream(1, "bench.noise");
  for (size_t p = 0; p < image.pixels.size(); ++p) {
    const auto at = static_cast<int64_t>(p / 8);
    const uint64_t bits = stream.bits64({.step = frame, .index = at}) >> (8 * (p % 8));
    const int noise = static_cast<int>(bits & 15) - 8 + static_cast<int>(bits >> 4 & 15) - 8;
    image.pixels[p] = static_cast<uint8_t>(std::clamp(image.pixels[p] + noise / 2, 0, 255));
  }
  return image;
}

int quality_for(const std::vector<Image>& images, double bytes) {
  int best = 95;
  double least = 1e18;
  for (int quality = 60; quality <= 98; ++quality) {
    double sum = 0;
    for (const Image& image : images)
      sum += static_cast<double>(encode_jpeg(image, {.quality = quality, .halved_colours = true}).size());
    const double off = std::abs(sum / static_cast<double>(images.size()) - bytes);
    if (off < least) {
      least = off;
      best = quality;
    }
  }
  return best;
}

struct JpegSet {
  int64_t bytes = 0;  // of a frame, mean
  int quality = 0;
};

JpegSet write_jpegs(const fs::path& root) {
  const SyntheticSource source(parse_synthetic(
      fmt::format("synthetic:size={}x{},frames={},layers=3", kFrame.height, kFrame.width, kFolderFrames)));
  std::vector<Image> samples;
  for (int64_t folder = 0; folder < kFolders; ++folder) {
    samples.push_back(
        noisy_frame(source.read({.item = folder, .first = 0, .count = 1}).frames[0], folder * kFolderFrames));
  }
  JpegSet set{.bytes = 0, .quality = quality_for(samples, kJpegBytes)};
  for (int64_t folder = 0; folder < kFolders; ++folder) {
    const fs::path path = root / fmt::format("clip_{}", folder);
    fs::create_directories(path);
    const Clip clip = source.read({.item = folder, .first = 0, .count = kFolderFrames});
    for (int64_t k = 0; k < kFolderFrames; ++k) {
      const Image image = noisy_frame(clip.frames[static_cast<size_t>(k)], folder * kFolderFrames + k);
      const std::string jpeg = encode_jpeg(image, {.quality = set.quality, .halved_colours = true});
      write_file_atomically(path / fmt::format("img_{:05}.jpg", k + 1), jpeg);
      set.bytes += static_cast<int64_t>(jpeg.size());
    }
  }
  set.bytes /= kFolders * kFolderFrames;
  return set;
}

double processor_seconds() {
  timespec time = {};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Rate {
  double per_core = 0;   // by processor time
  double per_clock = 0;  // by the clock, all threads together
};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// Calls `work`, which makes some clips, over and over.
Rate measure(const Arguments& a, const std::function<int64_t()>& work) {
  std::vector<double> per_core, per_clock;
  for (int64_t round = 0; round < a.rounds; ++round) {
    const double clock = clock_seconds(), processor = processor_seconds();
    int64_t clips = 0;
    while (clock_seconds() - clock < a.seconds / static_cast<double>(a.rounds)) clips += work();
    per_core.push_back(static_cast<double>(clips) / (processor_seconds() - processor));
    per_clock.push_back(static_cast<double>(clips) / (clock_seconds() - clock));
  }
  return {.per_core = median(per_core), .per_clock = median(per_clock)};
}

Rate measure_loader(const Arguments& a, const SourcePtr& source, int64_t threads) {
  LoaderOptions options;
  options.batch = 4;
  options.frames = a.frames;
  options.geometry = {.network = {224, 224}, .crop = parse_crop(a.crop), .resize = kFrame, .mirror = .5};
  options.threads = threads;
  options.slots = 2 + threads;
  Loader loader(source, options);
  // The first time a video is met all of it is decoded, to number its frames.
  for (int64_t clips = 0; clips < 2 * source->size(); clips += options.batch) loader.next();
  return measure(a, [&] { return loader.next().count; });
}

// What the frames of a clip cost the JPEG decoder alone.
Rate measure_decoder(const Arguments& a, const fs::path& root) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) files.push_back(read_file(entry.path(), 1 << 20));
  }
  size_t next = 0;
  return measure(a, [&] {
    for (int64_t k = 0; k < a.frames; ++k, ++next) decode_image(files[next % files.size()], "jpeg");
    return int64_t{1};
  });
}

SourcePtr open(const Arguments& a, const std::string& path) {
  return open_source({.spec = path, .min_frames = a.frames, .cache_bytes = int64_t{4} << 20});
}

int run(const Arguments& a) {
  if (a.frames < 1 || a.frames > kFolderFrames || !(a.seconds > 0) || a.rounds < 1) {
    fail(ErrorKind::usage,
         {"bench_loader",
          fmt::format("--frames from 1 to {}, --seconds above 0 and --rounds from 1", kFolderFrames),
          "others", ""});
  }
  const TemporaryFolder folder;
  const JpegSet jpegs = write_jpegs(folder.path());
  nlohmann::json result{{"processor", make_device("cpu")->description()},
                        {"jpeg_bytes", jpegs.bytes},
                        {"jpeg_quality", jpegs.quality},
                        {"frames", a.frames},
                        {"crop", a.crop}};
  double jpeg_rate = 0;
  const auto add = [&](const std::string& name, int64_t threads, const Rate& rate) {
    if (!a.json)
      fmt::print("{:<44} {:>7} {:>14.1f} {:>14.1f}\n", name, threads, rate.per_core, rate.per_clock);
    result["rows"].push_back({{"source", name},
                              {"threads", threads},
                              {"clips_per_second_and_core", rate.per_core},
                              {"clips_per_second", rate.per_clock}});
  };
  if (!a.json) fmt::print("{:<44} {:>7} {:>14} {:>14}\n", "source", "threads", "clips/s/core", "clips/s");
  add("JPEG decoder alone", 1, measure_decoder(a, folder.path()));
  const SourcePtr source = open(a, folder.path());
  for (const int64_t threads : a.threads) {
    const Rate rate = measure_loader(a, source, threads);
    if (threads == a.threads.front()) jpeg_rate = rate.per_core;
    add(fmt::format("JPEG {}x{}, {:.1f} kB", kFrame.width, kFrame.height,
                    static_cast<double>(jpegs.bytes) / 1000),
        threads, rate);
  }
  for (const std::string& video : a.videos) {
    const SourcePtr frames = open(a, video);
    for (const int64_t threads : a.threads) {
      add(fs::path(video).filename().string() +
              (frames->size() > 1 ? fmt::format(", {} videos", frames->size()) : ""),
          threads, measure_loader(a, frames, threads));
    }
  }
  result["goal"] = kGoal;
  result["reached"] = jpeg_rate >= kGoal;
  if (a.json)
    std::cout << result.dump() << "\n";
  else
    fmt::print("goal G16 (JPEG, {} clips/s/core): {}; JPEG quality {}; {}\n", kGoal,
               jpeg_rate >= kGoal ? "reached" : "missed", jpegs.quality,
               result["processor"].get<std::string>());
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::Arguments a;
  return millrace::run_program(
      {.name = "bench_loader",
       .about = "Speed of the loader: clips a second and core from folders of JPEG frames and from video.",
       .setup =
           [&](CLI::App& app) {
             app.add_option("--video", a.videos, "videos or folders of videos to load too");
             app.add_option("--frames", a.frames, "of a clip");
             app.add_option("--crop", a.crop, "none, centre, random or multi_scale");
             app.add_option("--threads", a.threads, "numbers of decoding threads")->delimiter(',');
             app.add_option("--seconds", a.seconds, "for each row");
             app.add_option("--rounds", a.rounds, "parts of these seconds; the median counts");
             app.add_flag("--json", a.json, "one line of JSON");
           },
       .run = [&](CLI::App&) { return millrace::run(a); }},
      argc, argv);
}
