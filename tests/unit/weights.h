// For tests of files of weights: those of tests/fuzz/corpus, which tests/golden/weights.py made.
#pragma once

#include <string>
#include <vector>

#include "core/files.h"
#include "data/weights/weight_file.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

namespace millrace::test {

inline std::filesystem::path corpus(const std::string& name) {
  return std::filesystem::path(MILLRACE_CORPUS) / name;
}

// All tensors as the inspector shows them: "fc8.bias F32 [2]".
inline std::vector<std::string> tensors_of(const WeightFile& file) {
  std::vector<std::string> lines;
  for (const WeightTensor& t : file.tensors()) {
    std::string line = t.name + " " + t.dtype + " [";
    for (size_t i = 0; i < t.shape.size(); ++i) line += (i > 0 ? "," : "") + std::to_string(t.shape[i]);
    lines.push_back(line + "]");
  }
  return lines;
}

inline std::vector<double> values_of(const WeightFile& file, const std::string& name) {
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    if (file.tensors()[i].name != name) continue;
    std::vector<double> values(static_cast<size_t>(file.tensors()[i].count()));
    file.read(i, 0, values);
    return values;
  }
  FAIL("no tensor " << name);
  return {};
}

// 0, 1/4, 2/4, ...
inline std::vector<double> quarters(int count) {
  std::vector<double> values;
  for (int i = 0; i < count; ++i) values.push_back(i / 4.0);
  return values;
}

// Opening `name` of the corpus, and reading all of it.
inline std::string refusal_of(const std::string& name) {
  return message_of([&] {
    const WeightFilePtr file = open_weights(corpus(name));
    for (const WeightTensor& t : file->tensors()) values_of(*file, t.name);
  });
}

// Of a file cut after every byte: each cut is refused in one line, as bad data, or shows fewer tensors.
inline void require_cuts_refused(const std::string& name, bool some_are_whole) {
  const std::string bytes = read_file(corpus(name), 1 << 20);
  const size_t all = open_weights(corpus(name))->tensors().size();
  const TemporaryFolder folder;
  for (size_t n = 0; n < bytes.size(); ++n) {
    INFO(name << ", its first " << n << " of " << bytes.size() << " bytes");
    write_file_atomically(folder / "cut", bytes.substr(0, n));
    size_t tensors = 0;
    try {
      const WeightFilePtr file = open_weights(folder / "cut");
      tensors = file->tensors().size();
      CHECK(some_are_whole);
    } catch (const Error& e) {
      REQUIRE(e.kind() == ErrorKind::data);
      REQUIRE(std::string(e.what()).find('\n') == std::string::npos);
    }
    REQUIRE(tensors < all);
  }
}

}  // namespace millrace::test
