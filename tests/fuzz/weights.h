// What the fuzz targets of weights from elsewhere share.
#pragma once

#include <algorithm>
#include <vector>

#include "data/weights/weight_file.h"
#include "tests/fuzz/support.h"

namespace millrace::fuzz {

// Every tensor that the file claims to hold can be read, and gives the same in one piece and in two.
inline void read_all(const WeightFile& file) {
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const WeightTensor& tensor = file.tensors()[i];
    require(tensor.count() >= 0 && !tensor.name.empty(), "a tensor has a name and a size");
    const auto count = static_cast<size_t>(std::min<int64_t>(tensor.count(), 1000));
    std::vector<double> whole(count), parts(count);
    const bool read = accepts([&] { file.read(i, 0, whole); });
    if (!read) continue;  // its checksum is wrong
    const size_t middle = count / 2;
    file.read(i, static_cast<int64_t>(middle), std::span(parts).subspan(middle));
    file.read(i, 0, std::span(parts).first(middle));
    const bool same = std::equal(whole.begin(), whole.end(), parts.begin(),
                                 [](double a, double b) { return a == b || (a != a && b != b); });
    require(same, "a tensor's parts are those of the whole");
  }
}

}  // namespace millrace::fuzz
