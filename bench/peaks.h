// What a device can do at most: --peaks of bench_step.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "core/copy.h"
#include "core/error.h"
#include "core/session.h"
#include "core/step_report.h"
#include "layers/conv2d.h"

namespace millrace {

inline constexpr const char* kPeaksHelp =
    "what floors are computed from: 'measure' times a copy and a convolution, in f32, before the step; or "
    "four numbers with commas between: TFLOP/s in fp32, tf32 and bf16, and TB/s of a copy, read plus "
    "written; auto: on a GPU 60,395,790,4.3, an H200's (fp32 and tf32 are estimates), "
    "elsewhere measure";

// The fastest of some runs of one op on random numbers.
inline double fastest_run(const Graph& g, Device& device) {
  State state(device);
  Session session(make_plan(g, {.device = device.name()}), state);
  std::mt19937 random(1);
  for (const auto& [name, v] : session.plan().inputs) {
    std::vector<float> numbers(static_cast<size_t>(session.input(name).count()));
    for (float& x : numbers) x = std::uniform_real_distribution<float>(-1, 1)(random);
    session.set(name, numbers);
  }
  session.run();
  const auto timer = device.make_timer();
  double best = 0, spent = 0;
  for (int k = 0; k < 3 || (spent < .3 && k < 50); ++k) {
    timer->start();
    session.run();
    timer->mark();
    const double seconds = timer->read().front();
    best = k == 0 ? seconds : std::min(best, seconds);
    spent += seconds;
  }
  return best;
}

inline Peaks measured_peaks(Device& device) {
  Peaks peaks{.source = "measured here: a copy of 64 MiB, a 3x3 convolution of 64 to 64 channels, in f32"};
  {
    constexpr int64_t kBytes = 64 << 20;  // larger than caches
    Graph g;
    g.output("y", copy(g, g.input("x", {kBytes / 4})));
    peaks.bytes = 2 * static_cast<double>(kBytes) / fastest_run(g, device);
  }
  constexpr int64_t kBatch = 2, kExtent = 56, kChannels = 64;
  Graph g;
  g.output("y", conv2d(g, g.input("x", {kBatch, kExtent, kExtent, kChannels}),
                       g.input("w", {kChannels, 3, 3, kChannels}), g.input("b", {kChannels}), {.pad = 1}));
  const double flop = 2. * kBatch * kExtent * kExtent * kChannels * kChannels * 9;
  peaks.fp32 = peaks.tf32 = peaks.bf16 = flop / fastest_run(g, device);
  return peaks;
}

inline Peaks find_peaks(const std::string& text, Device& device) {
  if (text == "measure" || (text == "auto" && device.name() != "cuda")) return measured_peaks(device);
  Peaks peaks{.source = text == "auto"
                            ? "of an H200: bf16 and bytes were measured, fp32 and tf32 are estimates"
                            : "given"};
  std::string rest = text == "auto" ? "60,395,790,4.3" : text;
  std::vector<double> numbers;
  const char *at = rest.data(), *end = at + rest.size();
  while (at < end) {
    double number = 0;
    const auto read = std::from_chars(at, end, number);
    if (read.ec != std::errc() || !(number > 0 && std::isfinite(number)) ||
        (read.ptr != end && *read.ptr != ','))
      break;
    numbers.push_back(number * 1e12);
    at = read.ptr == end ? end : read.ptr + 1;
  }
  if (numbers.size() != 4 || at != end || rest.back() == ',') {
    fail(ErrorKind::usage,
         {"--peaks", "auto, measure or four numbers above 0 with commas between", "'" + text + "'", ""});
  }
  peaks.fp32 = numbers[0];
  peaks.tf32 = numbers[1];
  peaks.bf16 = numbers[2];
  peaks.bytes = numbers[3];
  return peaks;
}

inline std::string peaks_text(const Peaks& p) {
  return fmt::format("{:.4g}, {:.4g}, {:.4g} TFLOP/s (fp32, tf32, bf16) and {:.4g} TB/s ({})", p.fp32 / 1e12,
                     p.tf32 / 1e12, p.bf16 / 1e12, p.bytes / 1e12, p.source);
}

}  // namespace millrace
