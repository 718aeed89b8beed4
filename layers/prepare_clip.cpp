#include "layers/prepare_clip.h"

#include <algorithm>
#include <array>

namespace millrace {
namespace {

constexpr int64_t kMostExtent = 32768;  // see resize_tap

using Window = std::array<int, kWindowNumbers>;  // top, left, height, width, mirror

struct Example {
  const char* name;
  Shape x;
  std::vector<Window> windows;
  PrepareClipAttrs attrs;
  bool benchmark = false;
};

// The numbers of `windows` in turn, again and again.
Draw in_turn(std::vector<Window> windows) {
  return [windows = std::move(windows), k = size_t{0}](Random&) mutable {
    const size_t at = k;
    k = (k + 1) % (windows.size() * kWindowNumbers);
    return static_cast<double>(windows[at / kWindowNumbers][at % kWindowNumbers]);
  };
}

double pixel(Random& r) { return static_cast<double>(r.integer(0, 255)); }

std::vector<Example> examples() {
  const NormalizeImageAttrs other_means{.mean_b = 0, .mean_g = 1, .mean_r = 255, .scale = 2};
  const LrnAttrs other_response{.size = 5, .alpha = 3, .beta = .5, .k = 2};
  const std::vector<Window> crops = {{0, 1, 13, 11, 0}, {3, 2, 15, 13, 1}, {0, 0, 11, 15, 0}};
  return {
      {"cut and mirrored", {2, 5, 7, 6}, {{0, 1, 4, 6, 0}, {1, 0, 4, 6, 1}}, {.height = 4, .width = 6}},
      {"resized",
       {3, 9, 8, 3},
       {{1, 2, 7, 6, 1}, {0, 0, 9, 8, 0}, {2, 3, 3, 2, 0}},
       {.height = 5, .width = 6}},
      {"halved", {1, 9, 12, 3}, {{1, 1, 8, 10, 1}}, {.height = 4, .width = 5}},
      {"filled up with zeros",
       {2, 4, 5, 9},
       {{0, 0, 3, 5, 0}, {1, 1, 3, 4, 1}},
       {.height = 3, .width = 5, .channels = 16}},
      {"no loss images", {1, 4, 5, 6}, {{1, 1, 3, 4, 0}}, {.height = 3, .width = 3, .loss_images = false}},
      {"other constants",
       {1, 4, 5, 6},
       {{1, 1, 3, 4, 0}},
       {.height = 3, .width = 3, .channels = 7, .normalize = other_means, .response = other_response}},
      {"no response", {1, 4, 5, 3}, {{0, 0, 4, 5, 0}}, {.height = 4, .width = 5, .respond = false}},
      {"one pixel", {1, 1, 1, 3}, {{0, 0, 1, 1, 0}}, {.height = 1, .width = 1}},
      {"windows outside", {2, 3, 4, 3}, {{-1, 5, 2, 3, 0}, {2, 1, 9, 0, 1}}, {.height = 2, .width = 3}},
      {"several blocks", {3, 18, 16, 33}, crops, {.height = 13, .width = 11, .channels = 40}},
      {"benchmark",
       {4, 256, 340, 33},
       {{32, 116, 224, 224, 0}, {0, 0, 256, 224, 1}, {16, 58, 224, 224, 1}, {64, 148, 192, 192, 0}},
       {.height = 224, .width = 224, .channels = 40},
       true},
  };
}

}  // namespace

std::vector<Spec> PrepareClip::infer(std::span<const Spec> in, Dtype real) const {
  const Shape &x = in[0].shape, &windows = in[1].shape;
  if (x.rank() != 4 || x[3] == 0 || x[3] % 3 != 0 || in[0].dtype != Dtype::u8)
    fail(ErrorKind::runtime, {kName, "u8 frames (N,H,W,3T)", in[0].to_string(), ""});
  if (windows != Shape{x[0], kWindowNumbers} || in[1].dtype != Dtype::i32)
    fail(ErrorKind::runtime, {kName, "windows i32" + Shape{x[0], kWindowNumbers}.to_string(),
                              in[1].to_string(), "top, left, height, width, mirror of each sample"});
  const int64_t longest = std::max({x[1], x[2], attrs.height, attrs.width});
  const bool fits = std::min({x[1], x[2], attrs.height, attrs.width}) >= 1 && longest <= kMostExtent &&
                    (attrs.channels == 0 || attrs.channels >= x[3]);
  if (!fits)
    fail(ErrorKind::runtime, {kName, "extents from 1 to 32768, no fewer channels than frames have",
                              attributes() + " of " + in[0].to_string(), ""});
  std::vector<Spec> out = {
      {{x[0], attrs.height, attrs.width, attrs.channels == 0 ? x[3] : attrs.channels}, real}};
  if (attrs.loss_images) out.push_back({{x[0], attrs.height, attrs.width, x[3]}, precise(real)});
  return out;
}

Cost PrepareClip::cost(std::span<const Spec> in, std::span<const Spec> out) const {
  // Of the frames, as many pixels as the outputs have; what windows leave out is not read.
  const double pixels = static_cast<double>(out[0].shape.count() / out[0].shape[3]);
  const double values = pixels * static_cast<double>(in[0].shape[3]);
  Cost cost{.flop = 20.0 * values, .bytes = values + static_cast<double>(in[1].bytes())};
  for (const Spec& s : out) cost.bytes += static_cast<double>(s.bytes());
  return cost;
}

std::vector<Case> PrepareClip::cases() {
  std::vector<Case> cases;
  for (const Example& e : examples())
    cases.push_back(
        {.name = e.name,
         .op = make_op<PrepareClip>(e.attrs),
         .in = {{e.x, pixel, Dtype::u8}, {{e.x[0], kWindowNumbers}, in_turn(e.windows), Dtype::i32}},
         .benchmark = e.benchmark});
  return cases;
}

}  // namespace millrace
