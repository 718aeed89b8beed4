// Where parameters lie in the flat buffers of the State: values of those that train in "params", and likewise
// their gradients and moments; values of those that do not in "frozen", which has no such companions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/layout.h"

namespace millrace {

// Every slice begins at a multiple of this many elements, which is 256 bytes of float. One row of the table
// of learning-rate and decay multipliers serves one block.
constexpr int64_t kUpdateBlock = 64;

struct FlatSlice {
  std::string name;
  int64_t offset = 0;  // elements, a multiple of kUpdateBlock
  Shape shape;
  Layout layout{};

  // Elements in the buffer, with what fills up the blocks of the layout.
  int64_t count() const { return layout.count(shape); }
};

struct FlatLayout {
  std::vector<FlatSlice> slices;  // by offset
  int64_t total = 0;              // elements, a multiple of kUpdateBlock; what no slice covers is zero
};

// Buffers of the State.
inline constexpr const char* kParams = "params";
// The same in bf16, at the same places, where a plan of Precision::bf16 reads its weights
// (core/precision_pass.h).
inline constexpr const char* kParamsBf16 = "params_bf16";
inline constexpr const char* kFrozen = "frozen";
inline constexpr const char* kFrozenBf16 = "frozen_bf16";
inline constexpr const char* kMultipliers = "multipliers";  // (total / kUpdateBlock, 2): of rate and of decay

}  // namespace millrace
