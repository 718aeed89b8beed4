// Numbers that C++ and tests/golden/*.py make alike, and the file of what PyTorch computed with them.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/flat_layout.h"
#include "core/safetensors.h"
#include "core/state.h"
#include "tests/unit/run_op.h"

namespace millrace::test {

// `bits` of tests/golden/reference.py: SplitMix64 (Steele et al. 2014) from FNV-1a of a name.
class Bits {
 public:
  explicit Bits(const std::string& name) {
    for (const char c : name) state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  }
  uint64_t operator()(size_t index) const {
    uint64_t z = state_ + (index + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  // [-1, 1) in steps of 2^-23.
  double uniform(size_t index) const {
    return (static_cast<double>((*this)(index) >> 40) - 8388608) / 8388608;
  }

 private:
  uint64_t state_ = 0xCBF29CE484222325u;
};

// Numbers of a parameter, in the order of files and PyTorch: (O,I,kh,kw).
inline Numbers made_parameter(const FlatSlice& slice) {
  const Shape& s = slice.shape;  // (O,kh,kw,I), of a deconvolution (I,kh,kw,O), of a matrix (O,I)
  const auto fan_in = static_cast<double>(s.count() / s[0]);
  const double bound = s.rank() > 1 ? std::sqrt(6 / fan_in) : .05;
  const Bits bits(slice.name);
  Numbers values(static_cast<size_t>(s.count()));
  for (size_t k = 0; k < values.size(); ++k) values[k] = static_cast<float>(bits.uniform(k) * bound);
  return values;
}

// Moments of Adam, 1 or 2.
inline Numbers made_moment(const FlatSlice& slice, int moment) {
  const Bits bits(slice.name + "/moment" + std::to_string(moment));
  Numbers values(static_cast<size_t>(slice.shape.count()));
  for (size_t k = 0; k < values.size(); ++k) {
    const double v = bits.uniform(k) / 128;
    values[k] = moment == 1 ? v : v * v;
  }
  return values;
}

struct ClipSize {
  int64_t batch, height, width, frames;
};

// (N,H,W,3T): textures with a knot every 8 pixels that move by eighths of a pixel a frame.
inline std::vector<uint8_t> made_clips(const ClipSize& size) {
  std::vector<uint8_t> clips;
  clips.reserve(static_cast<size_t>(size.batch * size.height * size.width * size.frames * 3));
  for (int64_t n = 0; n < size.batch; ++n) {
    const Bits bits("clip" + std::to_string(n));
    auto knot = [&](int64_t i, int64_t j, int64_t c) {
      return static_cast<int64_t>(bits(static_cast<size_t>((i * 128 + j) * 3 + c)) >> 56);
    };
    for (int64_t row = 0; row < size.height; ++row) {
      for (int64_t column = 0; column < size.width; ++column) {
        for (int64_t k = 0; k < 3 * size.frames; ++k) {
          const int64_t t = k / 3, c = k % 3;
          const int64_t y = 8 * row + 1024 + (5 - 8 * n) * t, x = 8 * column + 1024 + (3 * n - 10) * t;
          const int64_t i = y / 64, j = x / 64, a = y % 64, b = x % 64;
          const int64_t above = (64 - b) * knot(i, j, c) + b * knot(i, j + 1, c);
          const int64_t below = (64 - b) * knot(i + 1, j, c) + b * knot(i + 1, j + 1, c);
          clips.push_back(static_cast<uint8_t>(((64 - a) * above + a * below + 2048) >> 12));
        }
      }
    }
  }
  return clips;
}

// (N,H,W,C) -> (N,C,H,W).
inline Numbers channels_first(const Numbers& values, const Shape& s) {
  Numbers result(values.size());
  size_t from = 0;
  for (int64_t n = 0; n < s[0]; ++n) {
    for (int64_t pixel = 0; pixel < s[1] * s[2]; ++pixel) {
      for (int64_t c = 0; c < s[3]; ++c)
        result[static_cast<size_t>((n * s[3] + c) * s[1] * s[2] + pixel)] = values[from++];
    }
  }
  return result;
}

// (N,C,H,W) -> (N,H,W,C), the shape being the latter.
inline Numbers channels_last(const Numbers& values, const Shape& s) {
  Numbers result(values.size());
  size_t to = 0;
  for (int64_t n = 0; n < s[0]; ++n) {
    for (int64_t pixel = 0; pixel < s[1] * s[2]; ++pixel) {
      for (int64_t c = 0; c < s[3]; ++c)
        result[to++] = values[static_cast<size_t>((n * s[3] + c) * s[1] * s[2] + pixel)];
    }
  }
  return result;
}

// A parameter's part of a buffer of the State, from and to the order of files.
inline void write_slice(State& state, const std::string& buffer, const FlatSlice& slice,
                        const Numbers& values) {
  const Numbers inner = slice.shape.rank() == 4 ? channels_last(values, slice.shape) : values;
  const auto count = static_cast<int64_t>(inner.size());
  if (state.at(buffer).dtype == Dtype::f64) return state.write(buffer, slice.offset, count, inner.data());
  const std::vector<float> single(inner.begin(), inner.end());
  state.write(buffer, slice.offset, count, single.data());
}

inline Numbers read_slice(const State& state, const std::string& buffer, const FlatSlice& slice) {
  const int64_t count = slice.shape.count();
  Numbers inner(static_cast<size_t>(count));
  if (state.at(buffer).dtype == Dtype::f64) {
    state.read(buffer, slice.offset, count, inner.data());
  } else {
    std::vector<float> single(static_cast<size_t>(count));
    state.read(buffer, slice.offset, count, single.data());
    inner.assign(single.begin(), single.end());
  }
  return slice.shape.rank() == 4 ? channels_first(inner, slice.shape) : inner;
}

// |a - b| / |b|; where b is 0, 0 for equal vectors and infinity for others.
inline double relative_l2(const Numbers& a, const Numbers& b) {
  if (a.empty() || a.size() != b.size()) return INFINITY;
  double difference = 0, norm = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    difference += (a[k] - b[k]) * (a[k] - b[k]);
    norm += b[k] * b[k];
  }
  return norm > 0 ? std::sqrt(difference / norm) : difference == 0 ? 0 : INFINITY;
}

// What tests/golden/*.py wrote.
class GoldenFile {
 public:
  explicit GoldenFile(const std::string& name = "motionnet.safetensors")
      : file_(MILLRACE_GOLDEN "/" + name) {}

  // Tensors of a case, without the case and "/digest".
  std::vector<std::string> names(const std::string& of_case) const {
    std::vector<std::string> result;
    for (const TensorEntry& entry : file_.tensors()) {
      if (entry.name.rfind(of_case + "/", 0) != 0) continue;
      const std::string name = entry.name.substr(of_case.size() + 1);
      result.push_back(name.substr(0, name.rfind("/digest")));
    }
    return result;
  }

  // Relative L2 distance of `values` from what is stored: exact for a whole tensor, the estimate described in
  // motionnet.py for a digest, or the distance of the samples where that is larger.
  double difference(const std::string& of_case, const std::string& name, const Numbers& values) const {
    const std::string path = of_case + "/" + name;
    if (file_.has(path)) return relative_l2(values, read(path));
    const Numbers digest = read(path + "/digest");
    if (digest.size() != 1 + 64 + 256 || values.empty() || !(digest[0] > 0)) return INFINITY;
    const Numbers mine = products(name, values);
    double squares = 0;
    for (size_t k = 0; k < 64; ++k) squares += (mine[k] - digest[1 + k]) * (mine[k] - digest[1 + k]);
    const Bits bits(name + "/samples");
    Numbers samples(256);
    for (size_t k = 0; k < 256; ++k) samples[k] = values[bits(k) % values.size()];
    const Numbers stored(digest.end() - 256, digest.end());
    return std::max(std::sqrt(squares / 64) / digest[0], relative_l2(samples, stored));
  }

 private:
  Numbers read(const std::string& name) const {
    Numbers values(static_cast<size_t>(file_.entry(name).count()));
    file_.read(name, std::span<double>(values));
    return values;
  }

  // With 64 vectors of signs: bit k of the number of element e is the sign of e in vector k. Elements are
  // first summed by each byte of their numbers, which is 8 additions an element in place of 64.
  static Numbers products(const std::string& name, const Numbers& values) {
    const Bits bits(name + "/signs");
    constexpr size_t kChunk = 1 << 16;
    const auto chunks = static_cast<int64_t>((values.size() + kChunk - 1) / kChunk);
    std::vector<Numbers> parts(static_cast<size_t>(chunks));
#pragma omp parallel for schedule(static)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      Numbers sums(8 * 256);
      const size_t begin = static_cast<size_t>(chunk) * kChunk;
      for (size_t e = begin; e < std::min(values.size(), begin + kChunk); ++e) {
        const uint64_t signs = bits(e);
        for (size_t byte = 0; byte < 8; ++byte) sums[byte * 256 + (signs >> 8 * byte & 255)] += values[e];
      }
      parts[static_cast<size_t>(chunk)] = std::move(sums);
    }
    Numbers result(64);
    for (const Numbers& sums : parts) {
      for (size_t k = 0; k < 64; ++k) {
        for (size_t byte = 0; byte < 256; ++byte)
          result[k] += (byte >> k % 8 & 1 ? 1 : -1) * sums[k / 8 * 256 + byte];
      }
    }
    return result;
  }

  SafetensorsReader file_;
};

}  // namespace millrace::test
