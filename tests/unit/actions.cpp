// That a single frame does not tell a motion, that its flow does, and what else labelled clips promise.
#include "data/actions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tests/catch.h"
#include "tests/unit/message_of.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

using Features = std::vector<double>;

// Brightness and its moments, how much neighbours differ along rows, columns and diagonals, near and far, and
// how much edges agree in direction within small windows: blur, scale, direction and shape show in these.
Features features_of(const Image& image) {
  constexpr int64_t kBorder = 4, kWindow = 7;
  const auto gray = [&](int64_t i, int64_t j) {
    const uint8_t* p = image.at(i, j);
    return (p[0] + p[1] + p[2]) / 3.0;
  };
  std::array<double, 3> color{};
  std::array<double, 5> moment{};
  std::array<std::array<double, 4>, 3> change{};
  double count = 0;
  for (int64_t i = kBorder; i + kBorder < image.height; ++i) {
    for (int64_t j = kBorder; j + kBorder < image.width; ++j, ++count) {
      const double here = gray(i, j);
      for (size_t k = 0; k < 5; ++k) moment[k] += std::pow(here / 255, static_cast<double>(k));
      for (size_t c = 0; c < 3; ++c) color[c] += image.at(i, j)[c];
      for (size_t k = 0; k < 3; ++k) {
        const int64_t step = int64_t{1} << k;
        change[k][0] += std::fabs(gray(i, j + step) - here);
        change[k][1] += std::fabs(gray(i + step, j) - here);
        change[k][2] += std::fabs(gray(i + step, j + step) - here);
        change[k][3] += std::fabs(gray(i + step, j - step) - here);
      }
    }
  }
  for (double& m : moment) m /= count;
  const double mean = moment[1], variance = moment[2] - mean * mean + 1e-6;
  const double third = moment[3] - 3 * mean * moment[2] + 2 * std::pow(mean, 3);
  const double fourth =
      moment[4] - 4 * mean * moment[3] + 6 * mean * mean * moment[2] - 3 * std::pow(mean, 4);
  Features f = {mean, std::sqrt(variance), std::fabs(third) / std::pow(variance, 1.5),
                fourth / (variance * variance)};
  for (const double c : color) f.push_back(c / count);
  for (const auto& by_step : change) {
    double sum = 0;
    for (const double c : by_step) sum += c;
    for (const double c : by_step) f.push_back(c / (sum + 1));
    f.push_back(sum / count / std::sqrt(variance));
  }
  double coherence = 0, energy = 0;
  for (int64_t i = kBorder; i + kBorder + kWindow < image.height; i += kWindow) {
    for (int64_t j = kBorder; j + kBorder + kWindow < image.width; j += kWindow) {
      double xx = 0, yy = 0, xy = 0;
      for (int64_t k = 0; k < kWindow * kWindow; ++k) {
        const int64_t y = i + k / kWindow, x = j + k % kWindow;
        const double dx = gray(y, x + 1) - gray(y, x - 1), dy = gray(y + 1, x) - gray(y - 1, x);
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
      }
      coherence += std::hypot(xx - yy, 2 * xy);
      energy += xx + yy;
    }
  }
  f.push_back(coherence / (energy + 1));
  return f;
}

// Mean and spread over time and place of the velocity's parts: shift, growth, rotation.
Features features_of(const std::vector<Flow>& flows) {
  Features mean(4), square(4);
  for (const Flow& flow : flows) {
    const auto last = flow.width - 1, bottom = flow.height - 1;
    const float *a = flow.at(0, 0), *b = flow.at(0, last), *c = flow.at(bottom, 0),
                *d = flow.at(bottom, last);
    const double parts[4] = {(a[0] + b[0] + c[0] + d[0]) / 4, (a[1] + b[1] + c[1] + d[1]) / 4,
                             (b[0] + d[0] - a[0] - c[0] + c[1] + d[1] - a[1] - b[1]) / 8,
                             (b[1] + d[1] - a[1] - c[1] - c[0] - d[0] + a[0] + b[0]) / 8};
    for (size_t k = 0; k < 4; ++k) {
      mean[k] += parts[k] / static_cast<double>(flows.size());
      square[k] += parts[k] * parts[k] / static_cast<double>(flows.size());
    }
  }
  Features all = mean;
  for (size_t k = 0; k < 4; ++k) all.push_back(std::sqrt(std::max(0.0, square[k] - mean[k] * mean[k])));
  return all;
}

struct Sample {
  Features features;
  int64_t label = 0;
};

// Test accuracy of the label of the nearest training sample, in features divided by their spread.
double neighbour_accuracy(const std::vector<Sample>& train, const std::vector<Sample>& test) {
  const size_t size = train.front().features.size();
  Features mean(size), spread(size);
  for (const Sample& s : train)
    for (size_t k = 0; k < size; ++k) mean[k] += s.features[k] / static_cast<double>(train.size());
  for (const Sample& s : train)
    for (size_t k = 0; k < size; ++k) spread[k] += std::pow(s.features[k] - mean[k], 2);
  for (double& s : spread) s = std::sqrt(s / static_cast<double>(train.size())) + 1e-9;
  int64_t right = 0;
  for (const Sample& s : test) {
    const Sample* best = nullptr;
    double best_distance = 1e300;
    for (const Sample& known : train) {
      double distance = 0;
      for (size_t k = 0; k < size; ++k)
        distance += std::pow((s.features[k] - known.features[k]) / spread[k], 2);
      if (distance < best_distance) {
        best_distance = distance;
        best = &known;
      }
    }
    right += best->label == s.label;
  }
  return static_cast<double>(right) / static_cast<double>(test.size());
}

// Of one frame of each clip, or of the clip's flow.
std::vector<Sample> samples_of(const ActionSource& source, std::optional<int64_t> frame) {
  std::vector<Sample> samples;
  for (int64_t item = 0; item < source.size(); ++item) {
    if (frame) {
      samples.push_back({features_of(source.read({item, *frame, 1, false}).frames[0]), *source.label(item)});
      continue;
    }
    const ActionScene scene = source.scene(item);
    std::vector<Flow> flows(static_cast<size_t>(source.options().frames - 1));
    for (size_t k = 0; k < flows.size(); ++k)
      action_flow(scene, static_cast<int64_t>(k), source.options().size, flows[k]);
    samples.push_back({features_of(flows), *source.label(item)});
  }
  return samples;
}

ActionOptions small(ActionKind kind, int64_t classes, int64_t count, const std::string& split = "train") {
  return {.kind = kind, .size = {64, 64}, .frames = 12, .classes = classes, .count = count, .split = split};
}

// Three standard errors of a guess's accuracy.
double three_sigma(double chance, int64_t count) {
  return 3 * std::sqrt(chance * (1 - chance) / static_cast<double>(count));
}

int64_t largest_difference(const Image& a, const Image& b) {
  int64_t largest = 0;
  for (size_t k = 0; k < a.pixels.size(); ++k)
    largest = std::max<int64_t>(largest, std::abs(int{a.pixels[k]} - int{b.pixels[k]}));
  return largest;
}

}  // namespace

TEST_CASE("no single frame tells the motion, not the first, a middle or the last, but the flow does") {
  constexpr int64_t kClasses = 7, kTrain = 420, kTest = 280;
  const ActionSource train(small(ActionKind::motion, kClasses, kTrain)),
      test(small(ActionKind::motion, kClasses, kTest, "test"));
  const double chance = 1.0 / kClasses;
  for (const int64_t frame : {0, 5, 11}) {
    const double accuracy = neighbour_accuracy(samples_of(train, frame), samples_of(test, frame));
    INFO("frame " << frame << ": " << accuracy);
    CHECK(accuracy < chance + three_sigma(chance, kTest));
    CHECK(accuracy > chance - three_sigma(chance, kTest));
  }
  CHECK(neighbour_accuracy(samples_of(train, {}), samples_of(test, {})) > 0.9);
}

TEST_CASE("what a clip looks like tells its family of patterns, and its flow does not") {
  constexpr int64_t kClasses = 3, kTrain = 240, kTest = 150;
  const ActionSource train(small(ActionKind::appearance, kClasses, kTrain)),
      test(small(ActionKind::appearance, kClasses, kTest, "test"));
  const double chance = 1.0 / kClasses;
  CHECK(neighbour_accuracy(samples_of(train, 3), samples_of(test, 3)) > 0.9);
  const double of_flow = neighbour_accuracy(samples_of(train, {}), samples_of(test, {}));
  INFO(of_flow);
  CHECK(of_flow < chance + three_sigma(chance, kTest));
}

TEST_CASE("the colour of a pixel does not tell the family of patterns") {
  constexpr int64_t kClasses = 6, kTrain = 900, kTest = 900;
  const auto pixels_of = [](const ActionSource& source) {
    std::vector<Sample> samples;
    Image one;
    for (int64_t item = 0; item < source.size(); ++item) {
      render_action(source.scene(item), 0, {1, 1}, one);
      samples.push_back(
          {{double(one.pixels[0]), double(one.pixels[1]), double(one.pixels[2])}, *source.label(item)});
    }
    return samples;
  };
  const double chance = 1.0 / kClasses;
  const double accuracy =
      neighbour_accuracy(pixels_of(ActionSource(small(ActionKind::appearance, kClasses, kTrain))),
                         pixels_of(ActionSource(small(ActionKind::appearance, kClasses, kTest, "test"))));
  INFO(accuracy);
  CHECK(accuracy < chance + three_sigma(chance, kTest));
}

TEST_CASE("a pair is told by both together: each of the two is one of three in all classes") {
  const ActionSource source(small(ActionKind::pair, 0, 9));
  CHECK(source.classes() == std::vector<std::string>{"checks_down", "checks_pulse", "checks_up", "dots_down",
                                                     "dots_pulse", "dots_up", "waves_down", "waves_pulse",
                                                     "waves_up"});
  std::set<std::pair<int64_t, int64_t>> pairs;
  std::set<int64_t> motions, families;
  for (int64_t item = 0; item < 9; ++item) {
    const ActionScene scene = source.scene(item);
    motions.insert(scene.motion);
    families.insert(scene.pattern.family());
    pairs.insert({scene.motion, scene.pattern.family()});
    CHECK(source.classes()[static_cast<size_t>(*source.label(item))] ==
          fmt::format("{}_{}", kPatternFamilies[static_cast<size_t>(scene.pattern.family())],
                      kActionMotions[static_cast<size_t>(scene.motion)]));
  }
  CHECK(pairs.size() == 9);
  CHECK(motions.size() == 3);
  CHECK(families.size() == 3);
}

TEST_CASE("the mirrored clip is a clip of its own class, with the mirrored flow") {
  for (const Size size : {Size{48, 48}, Size{33, 50}}) {
    ActionOptions options = small(ActionKind::motion, 7, 7);
    options.size = size;
    const ActionSource source(options);
    for (int64_t item = 0; item < 7; ++item) {
      const ActionScene scene = source.scene(item), other = scene.mirrored();
      INFO(source.name(item));
      CHECK(other.motion == scene.motion);
      for (const int64_t frame : {0, 4, 11}) {
        Image image, expected;
        render_action(other, frame, size, image);
        render_action(scene, frame, size, expected);
        CHECK(largest_difference(image, expected) > 20);  // is no mirror of itself
        mirror(expected);
        CHECK(largest_difference(image, expected) <= 1);
        Flow flow, expected_flow;
        action_flow(other, frame, size, flow);
        action_flow(scene, frame, size, expected_flow);
        mirror(expected_flow);
        CHECK(end_point_error(flow, expected_flow).mean < 1e-4);
      }
    }
  }
}

TEST_CASE("the flow says where a pixel's pattern is in the next frame") {
  ActionOptions options = small(ActionKind::motion, 7, 14);
  options.size = {64, 80};
  const ActionSource source(options);
  for (int64_t item = 0; item < source.size(); ++item) {
    const Clip clip = source.read({.item = item, .first = 2, .count = 3, .want_truth = true});
    REQUIRE(clip.truth.size() == 2);
    double error = 0, unmoved = 0;
    int64_t count = 0;
    for (size_t k = 0; k < 2; ++k) {
      for (int64_t i = 8; i < 56; ++i) {
        for (int64_t j = 8; j < 72; ++j, ++count) {
          const double x = static_cast<double>(j) + clip.truth[k].at(i, j)[0],
                       y = static_cast<double>(i) + clip.truth[k].at(i, j)[1];
          const auto left = static_cast<int64_t>(std::floor(x)), top = static_cast<int64_t>(std::floor(y));
          const double fx = x - static_cast<double>(left), fy = y - static_cast<double>(top);
          const Image& next = clip.frames[k + 1];
          const auto at = [&](int64_t di, int64_t dj) { return double{1} * next.at(top + di, left + dj)[1]; };
          const double value =
              (1 - fy) * ((1 - fx) * at(0, 0) + fx * at(0, 1)) + fy * ((1 - fx) * at(1, 0) + fx * at(1, 1));
          error += std::fabs(value - clip.frames[k].at(i, j)[1]);
          unmoved += std::fabs(double{1} * next.at(i, j)[1] - clip.frames[k].at(i, j)[1]);
        }
      }
    }
    INFO(source.name(item) << ": " << error / static_cast<double>(count) << ", unmoved "
                           << unmoved / static_cast<double>(count));
    CHECK(error / static_cast<double>(count) < 6);  // edges of 100 levels, interpolated between pixels
    if (source.scene(item).motion != 6) CHECK(error < 0.6 * unmoved);
  }
}

TEST_CASE("a clip is a function of options and number: any part of it, in any order") {
  const ActionSource source(small(ActionKind::pair, 4, 8)), again(small(ActionKind::pair, 4, 100));
  const Clip whole = source.read({.item = 5, .first = 0, .count = 12});
  for (const int64_t frame : {11, 0, 6})
    CHECK((again.read({5, frame, 1, false}).frames[0].pixels ==
           whole.frames[static_cast<size_t>(frame)].pixels));
  const Clip longer = source.read({.item = 5, .first = 10, .count = 4, .want_truth = true});
  REQUIRE(longer.frames.size() == 4);
  CHECK((longer.frames[3].pixels == whole.frames[11].pixels));
  REQUIRE(longer.truth.size() == 3);
  CHECK(is_known(longer.truth[0].at(3, 3)));
  CHECK_FALSE(is_known(longer.truth[1].at(3, 3)));
  ActionOptions other = small(ActionKind::pair, 4, 8);
  other.seed = 2;
  CHECK((ActionSource(other).read({5, 0, 1, false}).frames[0].pixels != whole.frames[0].pixels));
  other = small(ActionKind::pair, 4, 8, "test");
  CHECK((ActionSource(other).read({5, 0, 1, false}).frames[0].pixels != whole.frames[0].pixels));
  CHECK(source.name(5) == "checks_up_train_00005");
}

TEST_CASE("labelled clips: options that cannot be meant") {
  const auto message = [](const ActionOptions& o) { return message_of([&] { ActionSource source(o); }); };
  CHECK_THAT(message({.classes = 8}), Contains("--classes") && Contains("2 to 7") && Contains("got 8"));
  CHECK_THAT(message({.classes = 1}), Contains("--classes"));
  CHECK_THAT(message({.classes = -4}), Contains("--classes"));
  CHECK_THAT(message({.kind = ActionKind::appearance, .classes = 7}), Contains("2 to 6"));
  for (const int64_t classes : {int64_t{1}, int64_t{8}, int64_t{49}, int64_t{-9}, INT64_MAX})
    CHECK_THAT(message({.kind = ActionKind::pair, .classes = classes}), Contains("4, 9, 16"));
  CHECK_THAT(message({.size = {31, 128}}), Contains("--size") && Contains("got 31"));
  CHECK_THAT(message({.frames = 1}), Contains("--frames"));
  CHECK_THAT(message_of([] { parse_action_kind("both", "--actions"); }),
             Contains("motion, appearance or pair") && Contains("'both'"));
  CHECK(ActionSource(ActionOptions{}).classes() == std::vector<std::string>{"down", "pulse", "shake", "up"});
}
