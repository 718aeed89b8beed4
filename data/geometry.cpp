#include "data/geometry.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <utility>

#include "core/error.h"
#include "data/draws.h"

namespace millrace {
namespace {

// fillCropSize and fillFixOffset of the paper's data_transformer.cpp: pairs of sizes that are neighbours on
// the scale, 5 positions. For a 224x224 network in 340x256 frames the sizes are 256, 224 and 192.
Window draw_multi_scale(const GeometryOptions& options, Size frame, Draws& draws) {
  const auto& scales = options.scales;
  const auto count = static_cast<int64_t>(scales.size());
  const auto last_of = [&](int64_t first) { return std::min(first + 1, count - 1); };
  // All pairs (first, first - 1), (first, first), (first, first + 1) that there are, by first, then second.
  int64_t drawn = draws.below(3 * count - 2), first = 0, second = 0;
  while (drawn-- > 0) {
    if (second++ < last_of(first)) continue;
    ++first;
    second = std::max<int64_t>(0, first - 1);
  }
  const auto scaled = [&](int64_t extent, int64_t limit, int64_t index) {
    const double size = static_cast<double>(extent) * 8 * scales[static_cast<size_t>(index)] / 7;
    return std::clamp<int64_t>(static_cast<int64_t>(size), 1, limit);
  };
  const Size size = {scaled(options.network.height, frame.height, first),
                     scaled(options.network.width, frame.width, second)};
  const int64_t step_i = (frame.height - size.height) / 4, step_j = (frame.width - size.width) / 4;
  constexpr int64_t kPlaces[5][2] = {{0, 0}, {0, 4}, {4, 0}, {4, 4}, {2, 2}};
  const auto& place = kPlaces[draws.below(5)];
  return {place[0] * step_i, place[1] * step_j, size};
}

}  // namespace

Size resized_size(const GeometryOptions& options, Size source) {
  const Size wanted = options.resize == Size{} ? source : options.resize;
  const double enlarge =
      std::max(static_cast<double>(options.network.height) / static_cast<double>(wanted.height),
               static_cast<double>(options.network.width) / static_cast<double>(wanted.width));
  if (enlarge <= 1) return wanted;
  const auto scaled = [&](int64_t extent, int64_t least) {
    return std::max(least, static_cast<int64_t>(std::llround(static_cast<double>(extent) * enlarge)));
  };
  return {scaled(wanted.height, options.network.height), scaled(wanted.width, options.network.width)};
}

Window centre_window(Size frame, Size size) {
  return {(frame.height - size.height) / 2, (frame.width - size.width) / 2, size};
}

Crop parse_crop(const std::string& name) {
  constexpr std::pair<std::string_view, Crop> kNames[] = {{"none", Crop::none},
                                                          {"centre", Crop::centre},
                                                          {"random", Crop::random},
                                                          {"multi_scale", Crop::multi_scale}};
  for (const auto& [known, crop] : kNames) {
    if (name == known) return crop;
  }
  fail(ErrorKind::usage, {.where = "crop",
                          .expected = "none, centre, random or multi_scale",
                          .got = fmt::format("\"{}\"", name)});
}

ClipGeometry draw_geometry(const GeometryOptions& options, Size source, RandomStream stream, int64_t sample) {
  Draws draws(stream, sample);
  ClipGeometry geometry;
  geometry.output = options.network;
  geometry.mirror = draws.chance(options.mirror);
  const Crop crop = source == options.network ? Crop::none : options.crop;
  geometry.resized = crop == Crop::none ? options.network : resized_size(options, source);
  const Size frame = geometry.resized;
  geometry.window = centre_window(frame, options.network);
  if (crop == Crop::random) {
    geometry.window.top = draws.below(frame.height - options.network.height + 1);
    geometry.window.left = draws.below(frame.width - options.network.width + 1);
  }
  if (crop == Crop::multi_scale) geometry.window = draw_multi_scale(options, frame, draws);
  return geometry;
}

namespace {

// Rows of a frame's window, after all resizing.
struct Rows {
  const uint8_t* first = nullptr;
  int64_t pitch = 0;  // bytes
};

Rows window_rows(const ClipGeometry& geometry, const Image& frame, Image& scratch) {
  if (frame.size() == geometry.resized && geometry.window.size == geometry.output) {
    return {.first = frame.at(geometry.window.top, geometry.window.left),
            .pitch = frame.channels * frame.width};
  }
  resize_bilinear(frame, {.size = geometry.resized, .window = geometry.window}, scratch);
  if (geometry.window.size != geometry.output) {
    Image resized;
    resize_bilinear(scratch, geometry.output, resized);
    scratch = std::move(resized);
  }
  return {.first = scratch.pixels.data(), .pitch = scratch.channels * scratch.width};
}

constexpr uint8_t kMostByte = 255;  // of flow: x mirrored is this less x

// One row of all frames. Four bytes of a pixel are copied at once where they lie inside of the images; the
// fourth is written over by what comes next.
struct RowCopy {
  int64_t width = 0;
  bool mirror = false;
};

void interleave_row(const std::vector<const uint8_t*>& rows, const RowCopy& row, uint8_t* out) {
  const auto copy_exactly = [&](int64_t column) {
    for (const uint8_t* in : rows) std::copy_n(in + 3 * column, 3, out), out += 3;
  };
  const size_t frames = rows.size();
  const uint8_t* const* in = rows.data();
  for (int64_t j = 0; j < row.width; ++j) {
    const int64_t column = row.mirror ? row.width - 1 - j : j;
    if (column + 1 == row.width || j + 1 == row.width) {
      copy_exactly(column);
      continue;
    }
    for (size_t k = 0; k < frames; ++k, out += 3) std::memcpy(out, in[k] + 3 * column, 4);
  }
}

void interleave_flow_row(const std::vector<const uint8_t*>& rows, const RowCopy& row, uint8_t* out) {
  const uint8_t turned = row.mirror ? kMostByte : 0;  // 255 - x is x with all bits exchanged
  for (int64_t j = 0; j < row.width; ++j) {
    const int64_t column = row.mirror ? row.width - 1 - j : j;
    for (const uint8_t* in : rows) {
      *out++ = in[2 * column] ^ turned;
      *out++ = in[2 * column + 1];
    }
  }
}

}  // namespace

void check_scales(const std::vector<double>& scales) {
  if (scales.empty()) {
    fail(ErrorKind::usage,
         {.where = "crop scales", .expected = "at least one scale, such as 1", .got = "none"});
  }
  for (const double scale : scales) {
    if (scale > 0 && scale <= 1) continue;
    fail(ErrorKind::usage, {.where = "crop scales",
                            .expected = "shares above 0 and at most 1, such as 1, .875, .75",
                            .got = fmt::format("{}", scale)});
  }
}

void write_clip(const ClipGeometry& geometry, const std::vector<FramePtr>& frames,
                std::vector<Image>& scratch, uint8_t* out) {
  const int64_t count = std::ssize(frames), channels = frames.front()->channels;
  scratch.resize(std::max(scratch.size(), frames.size()));
  std::vector<Rows> rows;
  for (size_t k = 0; k < frames.size(); ++k) rows.push_back(window_rows(geometry, *frames[k], scratch[k]));
  const auto [height, width] = geometry.output;
  std::vector<const uint8_t*> row(frames.size());
  for (int64_t i = 0; i < height; ++i, out += width * channels * count) {
    for (size_t k = 0; k < frames.size(); ++k) row[k] = rows[k].first + i * rows[k].pitch;
    (channels == 2 ? interleave_flow_row : interleave_row)(row, {.width = width, .mirror = geometry.mirror},
                                                           out);
  }
}

void apply_geometry(const ClipGeometry& geometry, Clip& clip, Image& scratch) {
  const bool whole = geometry.window.size == geometry.resized;
  for (Image& frame : clip.frames) {
    if (frame.size() != geometry.resized) {
      resize_bilinear(frame, geometry.resized, scratch);
      std::swap(frame, scratch);
    }
    if (!whole) {
      crop(frame, geometry.window, scratch);
      std::swap(frame, scratch);
    }
    if (geometry.window.size != geometry.output) {
      resize_bilinear(frame, geometry.output, scratch);
      std::swap(frame, scratch);
    }
    if (!geometry.mirror) continue;
    mirror(frame);
    for (size_t x = 0; frame.channels == 2 && x < frame.pixels.size(); x += 2)
      frame.pixels[x] = static_cast<uint8_t>(kMostByte - frame.pixels[x]);
  }
  for (Flow& flow : clip.truth) {
    if (flow.size() != geometry.resized) flow = resize_flow(flow, geometry.resized);
    if (!whole) {
      Flow cut;
      crop(flow, geometry.window, cut);
      flow = std::move(cut);
    }
    if (geometry.window.size != geometry.output) flow = resize_flow(flow, geometry.output);
    if (geometry.mirror) mirror(flow);
  }
}

}  // namespace millrace
