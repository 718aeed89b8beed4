#include "cuda/sim/race/source_line.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <sstream>

#include "cuda/sim/symbols.h"

namespace millrace::sim {

namespace {

std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), &::pclose);
  std::string text;
  std::array<char, 512> part;
  while (pipe != nullptr && std::fgets(part.data(), part.size(), pipe.get()) != nullptr) text += part.data();
  return text;
}

}  // namespace

std::string source_line(const void* returned_to) {
  const CodePlace place = place_of(static_cast<const char*>(returned_to) - 1);
  if (place.file.empty() || place.file.find('\'') != std::string::npos) return "";
  std::ostringstream command;
  command << "addr2line -i -e '" << place.file << "' " << std::hex << place.address << " 2>/dev/null";
  // One line "path:12" for each function that was inlined into the next, with remarks in brackets behind
  // some.
  std::istringstream lines(output_of(command.str()));
  std::string innermost;
  for (std::string line; std::getline(lines, line);) {
    const std::filesystem::path path = line.substr(0, line.find(':'));
    if (path.empty() || path == "??") continue;
    const std::string found = line.substr(line.rfind('/') + 1, line.find(' ') - line.rfind('/') - 1);
    if (path.extension() != ".h" && path.extension() != ".cuh") return found;
    if (innermost.empty()) innermost = found;
  }
  return innermost;
}

}  // namespace millrace::sim
