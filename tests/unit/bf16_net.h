// MotionNet, its loss and its training step, as the tests of Precision::bf16 build them.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/registry.h"
#include "core/rng.h"
#include "core/safetensors.h"
#include "core/session.h"
#include "layers/normalize_image.h"
#include "nets/motion_loss.h"
#include "optim/update.h"
#include "tests/catch.h"
#include "tests/unit/temporary_folder.h"

namespace millrace::test {

struct NetSize {
  int64_t batch = 2, extent = 64, frames = 3;
  double channels = .05;
};

struct LossGraph {
  Graph g;
  Value loss;
  MotionNetFlows flows;
};

inline LossGraph loss_graph(ParamStore& params, const NetSize& s) {
  LossGraph net;
  Graph& g = net.g;
  const Value clip = g.input("clip", Spec{{s.batch, s.extent, s.extent, 3 * s.frames}, Dtype::u8});
  const Value images = normalize_image(g, clip);
  net.flows = motionnet(g, params, images, {.frames = s.frames, .channels = s.channels});
  const MotionLoss loss = motion_loss(g, images, net.flows, {.frames = s.frames});
  for (const LossTerm& term : loss.terms) g.output(term.name, term.value);
  g.output("loss", loss.loss);
  net.loss = loss.loss;
  return net;
}

inline Graph training_graph(ParamStore& params, const NetSize& s, const OptimizerOptions& optimizer = {}) {
  LossGraph net = loss_graph(params, s);
  train_step(net.g, net.loss, params.layout(), optimizer);
  return std::move(net.g);
}

// Waves that move by up to two pixels a frame, in a direction of their own for each clip.
inline std::vector<uint8_t> waves(const NetSize& s, uint64_t seed, int64_t number) {
  const RandomStream stream = random_stream(seed, "waves");
  std::vector<uint8_t> bytes;
  for (int64_t n = 0; n < s.batch; ++n) {
    const auto draw = [&](int64_t k) { return stream.uniform01({.step = number, .index = 8 * n + k}); };
    const double u = 4 * draw(0) - 2, v = 4 * draw(1) - 2, phase = 6.28 * draw(2);
    const double a = .15 + .2 * draw(3), b = .15 + .2 * draw(4), c = .4 * draw(5) - .2;
    for (int64_t i = 0; i < s.extent; ++i) {
      for (int64_t j = 0; j < s.extent; ++j) {
        for (int64_t t = 0; t < s.frames; ++t) {
          const double x = static_cast<double>(j) - u * static_cast<double>(t);
          const double y = static_cast<double>(i) - v * static_cast<double>(t);
          for (int64_t colour = 0; colour < 3; ++colour) {
            const double at = phase + static_cast<double>(colour);
            bytes.push_back(static_cast<uint8_t>(128 + 55 * std::sin(a * x + c * y + at) +
                                                 55 * std::sin(b * y - c * x + 2 * at)));
          }
        }
      }
    }
  }
  return bytes;
}

// |a - b| / |b| in L2.
template <class A, class B> double distance(const A& a, const B& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, size = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    difference += std::pow(static_cast<double>(a[k]) - static_cast<double>(b[k]), 2);
    size += std::pow(static_cast<double>(b[k]), 2);
  }
  REQUIRE(size > 0);
  return std::sqrt(difference / size);
}

// a.b / (|a| |b|), in double.
template <class T> double cosine(const T* a, const T* b, int64_t count) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t k = 0; k < count; ++k) {
    const auto x = static_cast<double>(a[k]), y = static_cast<double>(b[k]);
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  REQUIRE(aa > 0);
  REQUIRE(bb > 0);
  return ab / std::sqrt(aa * bb);
}

// Values of a buffer laid out like the parameters, in the order of files, which is one for all devices.
inline std::vector<float> in_file_order(const ParamStore& params, const State& state, const char* buffer) {
  const TemporaryFolder folder;
  params.save(folder / "numbers", state, {{buffer, ""}}, {});
  const SafetensorsReader file(folder / "numbers");
  std::vector<float> numbers;
  for (const FlatSlice& slice : params.layout().slices) {
    const size_t first = numbers.size();
    numbers.resize(first + static_cast<size_t>(slice.shape.count()));
    file.read_some(slice.name, 0, std::span(numbers).subspan(first));
  }
  return numbers;
}

}  // namespace millrace::test
