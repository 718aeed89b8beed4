// Where code of this program lies in the file that it was loaded from.
#pragma once

#include <cstdint>
#include <string>

namespace millrace::sim {

struct CodePlace {
  std::string file;  // empty: unknown
  uint64_t address = 0;
};
CodePlace place_of(const void* code);

}  // namespace millrace::sim
