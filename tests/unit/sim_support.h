// What the tests of the simulator share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "cuda/sim/simulator.h"
#include "tests/catch.h"

namespace millrace {

class OrderSeed {
 public:
  explicit OrderSeed(uint64_t seed) : before_(sim::order_seed()) { sim::set_order_seed(seed); }
  ~OrderSeed() { sim::set_order_seed(before_); }

 private:
  uint64_t before_;
};

// The message of the device error that the call must end with.
template <class F> std::string refusal(F&& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::device);
    return error.what();
  }
  return "no error";
}

inline bool contains(const std::string& text, const std::string& part) {
  INFO(text << "\nmust contain: " << part);
  const bool found = text.find(part) != std::string::npos;
  CHECK(found);
  return found;
}

inline std::vector<float> ramp(size_t count) {
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) x[i] = 1.0f / static_cast<float>(i + 1);
  return x;
}

inline const std::vector<uint64_t> kSeeds = {0, 1, 2, 3, 12345};

}  // namespace millrace
