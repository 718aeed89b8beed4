#include "data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "core/error.h"
#include "data/sampler.h"
#include "data/synthetic.h"
#include "tests/catch.h"

using namespace millrace;
using Catch::Matchers::Contains;

namespace {

// Every pixel of frame f of item k is (k, f, 7); flow f is (k, f) everywhere. Items named in `broken` fail.
class NumberedSource final : public ClipSource {
 public:
  explicit NumberedSource(std::vector<int64_t> lengths, Size size = {4, 6})
      : lengths_(std::move(lengths)), size_(size) {}

  int64_t size() const override { return static_cast<int64_t>(lengths_.size()); }
  bool has_truth() const override { return true; }
  std::string name(int64_t item) const override { return fmt::format("item_{}", item); }
  int64_t length(int64_t item) const override { return lengths_.at(static_cast<size_t>(item)); }
  using ClipSource::read;
  void read(const ClipRange& range, Clip& clip) const override {
    // Different items take different times, so that threads overtake each other.
    std::this_thread::sleep_for(std::chrono::microseconds(100 * (range.item * 7 % 5)));
    ++reads;
    if (broken.count(range.item)) {
      fail(ErrorKind::data, {.where = name(range.item), .expected = "frames", .got = "none"});
    }
    clip.frames.clear();
    clip.truth.clear();
    const int64_t last = length(range.item) - 1;
    for (int64_t k = 0; k < range.count; ++k) {
      const auto frame = static_cast<uint8_t>(std::min(range.first + k, last));
      Image image;
      image.reshape(size_, 3);
      for (size_t p = 0; p < image.pixels.size(); p += 3) {
        image.pixels[p] = static_cast<uint8_t>(range.item);
        image.pixels[p + 1] = frame;
        image.pixels[p + 2] = 7;
      }
      clip.frames.push_back(image);
      if (k + 1 == range.count || !range.want_truth) continue;
      Flow flow;
      flow.reshape(size_);
      for (size_t p = 0; p < flow.uv.size(); p += 2) {
        flow.uv[p] = static_cast<float>(range.item);
        flow.uv[p + 1] = frame;
      }
      clip.truth.push_back(flow);
    }
  }

  std::set<int64_t> broken;
  mutable std::atomic<int64_t> reads = 0;

 private:
  std::vector<int64_t> lengths_;
  Size size_;
};

struct Copied {
  int64_t first_sample, count;
  std::vector<uint8_t> frames;
  std::vector<float> truth;
  bool operator==(const Copied&) const = default;
};

Copied copy(const Batch& batch, const LoaderOptions& options) {
  const int64_t pixels = options.batch * options.geometry.network.height * options.geometry.network.width;
  Copied copied{batch.first_sample, batch.count, {}, {}};
  copied.frames.assign(batch.frames, batch.frames + pixels * 3 * options.frames);
  if (batch.truth) copied.truth.assign(batch.truth, batch.truth + pixels * 2 * (options.frames - 1));
  return copied;
}

std::vector<Copied> take(Loader& loader, const LoaderOptions& options, int64_t batches) {
  std::vector<Copied> taken;
  for (int64_t k = 0; k < batches; ++k) taken.push_back(copy(loader.next(), options));
  return taken;
}

LoaderOptions small_options() {
  LoaderOptions options;
  options.batch = 3;
  options.geometry.network = {32, 64};
  options.geometry.crop = Crop::random;
  options.geometry.resize = {};
  options.geometry.mirror = 0.5;
  options.want_truth = true;
  return options;
}

}  // namespace

TEST_CASE("batches do not depend on threads or slots") {
  const auto source = std::make_shared<SyntheticSource>(parse_synthetic("synthetic:size=48x80,frames=4"));
  LoaderOptions options = small_options();
  options.threads = 1;
  Loader one(source, options);
  const auto expected = take(one, options, 8);
  for (const int64_t threads : {2, 4, 13}) {
    options.threads = threads;
    options.slots = 2 + threads % 3;
    Loader many(source, options);
    CHECK(take(many, options, 8) == expected);
  }
  options.seed = 2;
  Loader other(source, options);
  CHECK(take(other, options, 1)[0].frames != expected[0].frames);
}

TEST_CASE("seek goes on as if nothing had happened") {
  const auto source = std::make_shared<NumberedSource>(std::vector<int64_t>(11, 20), Size{40, 70});
  LoaderOptions options = small_options();
  options.clips_per_item = 2;
  Loader loader(source, options);
  const auto expected = take(loader, options, 20);  // almost three epochs
  for (const size_t from : {size_t{0}, size_t{1}, size_t{7}, size_t{19}}) {
    Loader resumed(source, options);
    resumed.seek(expected[from].first_sample);
    CHECK(resumed.position() == expected[from].first_sample);
    const auto rest = take(resumed, options, static_cast<int64_t>(20 - from));
    CHECK(std::equal(rest.begin(), rest.end(), expected.begin() + static_cast<int64_t>(from)));
  }
  loader.seek(6);  // of a running loader, backwards
  CHECK(take(loader, options, 1)[0] == expected[2]);
  CHECK(loader.position() == 9);
  CHECK_THROWS_AS(loader.seek(-1), Error);
}

TEST_CASE("channels are frame-major, and truth is interleaved alike") {
  const auto source = std::make_shared<NumberedSource>(std::vector<int64_t>{3});
  LoaderOptions options;
  options.batch = 1;
  options.frames = 3;
  options.geometry.network = {4, 6};
  options.want_truth = true;
  Loader loader(source, options);
  const Batch batch = loader.next();
  const std::vector<uint8_t> expected = {0, 0, 7, 0, 1, 7, 0, 2, 7};
  for (int64_t p = 0; p < 24; ++p) CHECK(std::equal(expected.begin(), expected.end(), batch.frames + p * 9));
  const std::vector<float> flows = {0, 0, 0, 1};
  for (int64_t p = 0; p < 24; ++p) CHECK(std::equal(flows.begin(), flows.end(), batch.truth + p * 4));
}

TEST_CASE(
    "without shuffling, items come in order with the clip in the middle, and the end is a partial batch") {
  // Too short an item repeats its last frame.
  const auto source = std::make_shared<NumberedSource>(std::vector<int64_t>{10, 2, 7, 1, 12});
  LoaderOptions options;
  options.batch = 2;
  options.frames = 2;
  options.geometry.network = {4, 6};
  options.shuffle = false;
  options.random_start = false;
  options.end = 5;
  Loader loader(source, options);
  const int64_t pixels = 24;
  const int64_t first_frames[5] = {4, 0, 3, 0, 5};  // (L - T + 1) / 2
  for (int64_t sample = 0; sample < 5;) {
    const Batch batch = loader.next();
    REQUIRE(batch.count == (sample < 4 ? 2 : 1));
    CHECK(batch.truth == nullptr);
    for (int64_t n = 0; n < batch.count; ++n, ++sample) {
      CHECK(batch.frames[n * pixels * 6] == sample);
      CHECK(batch.frames[n * pixels * 6 + 1] == first_frames[sample]);
      CHECK(batch.frames[n * pixels * 6 + 4] == (sample == 3 ? 0 : first_frames[sample] + 1));
    }
    if (sample == 5)
      CHECK(std::all_of(batch.frames + pixels * 6, batch.frames + 2 * pixels * 6,
                        [](uint8_t b) { return b == 0; }));
  }
  CHECK(loader.next().count == 0);
  CHECK(loader.next().count == 0);
  loader.seek(4);
  CHECK(loader.next().count == 1);
}

TEST_CASE("a random start is any that fits") {
  const auto source = std::make_shared<NumberedSource>(std::vector<int64_t>{5});
  LoaderOptions options;
  options.batch = 1;
  options.frames = 3;
  options.geometry.network = {4, 6};
  Loader loader(source, options);
  std::map<int, int> starts;
  for (int k = 0; k < 90; ++k) ++starts[loader.next().frames[1]];
  REQUIRE(starts.size() == 3);
  for (const auto& [start, times] : starts) {
    CHECK(start <= 2);
    CHECK(times > 12);
  }
}

TEST_CASE("an epoch takes every item as often as asked, in an order of its own") {
  const Sampler sampler({.items = 37, .clips_per_item = 3, .seed = 5});
  REQUIRE(sampler.samples_per_epoch() == 111);
  std::vector<std::vector<int64_t>> epochs(2);
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    std::map<int64_t, int> times;
    for (int64_t k = 0; k < 111; ++k) {
      const int64_t item = sampler.item(epoch * 111 + k);
      ++times[item];
      epochs[static_cast<size_t>(epoch)].push_back(item);
    }
    CHECK(times.size() == 37);
    CHECK(std::all_of(times.begin(), times.end(), [](const auto& entry) { return entry.second == 3; }));
    // Clips of one item are a group apart, never neighbours.
    for (size_t k = 1; k < 111; ++k) {
      CHECK(epochs[static_cast<size_t>(epoch)][k] != epochs[static_cast<size_t>(epoch)][k - 1]);
    }
  }
  CHECK(epochs[0] != epochs[1]);
  CHECK(sampler.item(5) == Sampler({.items = 37, .clips_per_item = 3, .seed = 5}).item(5));
  CHECK(Sampler({.items = 2, .endless = true}).item(1000) == 1000);
  const Sampler ordered({.items = 3, .shuffle = false, .clips_per_item = 2});
  for (int64_t k = 0; k < 12; ++k) CHECK(ordered.item(k) == k % 3);
}

TEST_CASE("an error in a thread comes out of next, names the file, and the loader goes on") {
  const auto source = std::make_shared<NumberedSource>(std::vector<int64_t>(12, 5));
  source->broken = {4, 5};
  LoaderOptions options;
  options.batch = 3;
  options.geometry.network = {4, 6};
  options.shuffle = false;
  options.threads = 4;
  Loader loader(source, options);
  CHECK(loader.next().frames[0] == 0);
  CHECK_THROWS_WITH(loader.next(), Contains("item_4"));  // the first of the two, whichever thread was faster
  CHECK(loader.next().frames[0] == 6);
  CHECK(loader.next().frames[0] == 9);
  const auto all_broken = std::make_shared<NumberedSource>(std::vector<int64_t>(3, 5));
  all_broken->broken = {0, 1, 2};
  Loader hopeless(all_broken, options);
  for (int k = 0; k < 5; ++k) CHECK_THROWS_AS(hopeless.next(), Error);
}

TEST_CASE("a loader may be dropped at any time, and reads no more than its slots hold") {
  const auto source = std::make_shared<NumberedSource>(std::vector<int64_t>(50, 5));
  LoaderOptions options;
  options.batch = 2;
  options.slots = 3;
  options.threads = 4;
  options.geometry.network = {4, 6};
  for (int taken = 0; taken < 4; ++taken) {
    Loader loader(source, options);
    for (int k = 0; k < taken; ++k) loader.next();
  }
  source->reads = 0;
  Loader loader(source, options);
  loader.next();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(source->reads <= 3 * 2);
  CHECK(source->reads >= 2);
}

TEST_CASE("buffers are reused, not allocated") {
  const auto source = std::make_shared<NumberedSource>(std::vector<int64_t>(4, 5));
  LoaderOptions options;
  options.slots = 2;
  options.geometry.network = {4, 6};
  Loader loader(source, options);
  std::set<const uint8_t*> seen;
  for (int k = 0; k < 10; ++k) seen.insert(loader.next().frames);
  CHECK(seen.size() == 2);
}

TEST_CASE("impossible options are usage errors") {
  const auto source = std::make_shared<NumberedSource>(std::vector<int64_t>{5});
  LoaderOptions options;
  CHECK_THROWS_AS(Loader(source, options), Error);  // no network size
  options.geometry.network = {4, 6};
  options.batch = 0;
  CHECK_THROWS_AS(Loader(source, options), Error);
  options.batch = 1;
  options.threads = 0;
  CHECK_THROWS_AS(Loader(source, options), Error);
  CHECK_THROWS_AS(parse_crop("middle"), Error);
  CHECK(parse_crop("multi_scale") == Crop::multi_scale);
}

namespace {

ClipGeometry draw(const GeometryOptions& options, Size source, int64_t sample = 0) {
  return draw_geometry(options, source, random_stream(1, "test"), sample);
}

}  // namespace

TEST_CASE("frames of the network's size are left as they are, whatever the crop") {
  for (const Crop crop : {Crop::none, Crop::centre, Crop::random, Crop::multi_scale}) {
    for (int64_t sample = 0; sample < 20; ++sample) {
      const ClipGeometry geometry = draw({.network = {192, 320}, .crop = crop}, {192, 320}, sample);
      CHECK(geometry ==
            ClipGeometry{.resized = {192, 320}, .window = {0, 0, {192, 320}}, .output = {192, 320}});
    }
  }
}

TEST_CASE("validation: 340x256, then the paper's centre") {
  const ClipGeometry geometry = draw({.network = {224, 224}}, {240, 320});
  CHECK(geometry ==
        ClipGeometry{.resized = {256, 340}, .window = {16, 58, {224, 224}}, .output = {224, 224}});
  // Not resized when told so; enlarged just enough when too small.
  CHECK(draw({.network = {224, 224}, .resize = {}}, {240, 320}).resized == Size{240, 320});
  CHECK(draw({.network = {384, 512}}, {240, 320}).resized == Size{386, 512});
  CHECK(draw({.network = {64, 64}, .resize = {}}, {32, 100}).resized == Size{64, 200});
  CHECK(draw({.network = {64, 64}, .resize = {}}, {1, 1}).resized == Size{64, 64});
}

TEST_CASE("no crop resizes the whole frame") {
  const ClipGeometry geometry = draw({.network = {64, 96}, .crop = Crop::none}, {240, 320});
  CHECK(geometry == ClipGeometry{.resized = {64, 96}, .window = {0, 0, {64, 96}}, .output = {64, 96}});
}

TEST_CASE("the paper's multi-scale corner crops") {
  std::set<std::pair<int64_t, int64_t>> sizes, places_224;
  for (int64_t sample = 0; sample < 2000; ++sample) {
    const ClipGeometry geometry =
        draw({.network = {224, 224}, .crop = Crop::multi_scale}, {240, 320}, sample);
    CHECK(geometry.resized == Size{256, 340});
    CHECK(geometry.output == Size{224, 224});
    const Window& window = geometry.window;
    sizes.insert({window.size.height, window.size.width});
    if (window.size == Size{224, 224}) places_224.insert({window.top, window.left});
    if (window.size == Size{192, 192}) {
      CHECK((window.top == 0 || window.top == 64 || window.top == 32));
      CHECK((window.left == 0 || window.left == 148 || window.left == 74));
    }
  }
  CHECK(sizes == std::set<std::pair<int64_t, int64_t>>{
                     {256, 256}, {256, 224}, {224, 256}, {224, 224}, {224, 192}, {192, 224}, {192, 192}});
  CHECK(places_224 == std::set<std::pair<int64_t, int64_t>>{{0, 0}, {0, 116}, {32, 0}, {32, 116}, {16, 58}});
}

TEST_CASE("random crops lie inside and reach every edge, and mirroring is as likely as asked") {
  int64_t mirrored = 0, top = 0, bottom = 0, left = 0, right = 0;
  for (int64_t sample = 0; sample < 2000; ++sample) {
    const ClipGeometry geometry =
        draw({.network = {64, 64}, .crop = Crop::random, .resize = {}, .mirror = 0.25}, {70, 67}, sample);
    const Window& window = geometry.window;
    REQUIRE((window.top >= 0 && window.top <= 6 && window.left >= 0 && window.left <= 3));
    mirrored += geometry.mirror;
    top += window.top == 0;
    bottom += window.top == 6;
    left += window.left == 0;
    right += window.left == 3;
  }
  CHECK(std::abs(mirrored - 500) < 100);
  CHECK(std::abs(top - 286) < 80);
  CHECK(std::abs(bottom - 286) < 80);
  CHECK(std::abs(left - 500) < 100);
  CHECK(std::abs(right - 500) < 100);
}

TEST_CASE("one geometry for all frames of a clip") {
  const NumberedSource source({5}, {20, 30});
  Clip clip = source.read({.item = 0, .first = 0, .count = 3, .want_truth = true});
  *clip.frames[0].at(4, 6) = 200;
  *clip.frames[2].at(4, 6) = 201;
  Image scratch;
  apply_geometry({.resized = {20, 30}, .window = {3, 5, {8, 10}}, .output = {8, 10}, .mirror = true}, clip,
                 scratch);
  CHECK(*clip.frames[0].at(1, 8) == 200);
  CHECK(*clip.frames[2].at(1, 8) == 201);
  CHECK(clip.truth[1].size() == Size{8, 10});
  CHECK(clip.truth[1].at(0, 0)[1] == 1);
}

TEST_CASE("centre_start") {
  CHECK(centre_start(280, 2) == 139);
  CHECK(centre_start(20, 11) == 5);
  CHECK(centre_start(11, 11) == 0);
  CHECK(centre_start(12, 11) == 1);
  CHECK(centre_start(3, 11) == 0);
}
