// Extents of a tensor, outermost first. Images and activations are (N,H,W,C), convolution weights
// (O,kh,kw,I), a scalar is (1).
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/error.h"

namespace millrace {

class Shape {
 public:
  static constexpr int kMaxRank = 5;

  Shape() = default;
  Shape(std::initializer_list<int64_t> extents) {
    if (extents.size() > kMaxRank) {
      fail(ErrorKind::runtime, {"shape", "at most five extents", std::to_string(extents.size()), ""});
    }
    for (int64_t extent : extents) push_back(extent);
  }

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return extents_[axis]; }

  // Number of elements; 1 for rank 0.
  int64_t count() const {
    int64_t product = 1;
    for (int axis = 0; axis < rank_; ++axis) product *= extents_[axis];
    return product;
  }

  bool operator==(const Shape& other) const { return rank_ == other.rank_ && extents_ == other.extents_; }

  std::string to_string() const {
    std::string text = "(";
    for (int axis = 0; axis < rank_; ++axis) text += (axis ? "," : "") + std::to_string(extents_[axis]);
    return text + ")";
  }

 private:
  void push_back(int64_t extent) {
    if (extent < 0) fail(ErrorKind::runtime, {"shape", "extents of 0 or more", std::to_string(extent), ""});
    extents_[rank_++] = extent;
  }

  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

}  // namespace millrace
