// Words of what programs say.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace millrace {

// "1 clip", "2 clips"
inline std::string counted(int64_t count, const char* what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace millrace
