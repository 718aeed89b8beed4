// The values of imported tensors, as our networks need them.
#pragma once

#include <span>
#include <vector>

#include "apps/data/import_plan.h"

namespace millrace {

class ImportValues {
 public:
  // Both must outlive this.
  ImportValues(const WeightFile& file, const ImportPlan& plan);

  // Values [first, first + out.size()) of a tensor that the file has, in order from its first. Throws
  // ErrorKind::data at one that is not finite, or too large for a float.
  void read(const ImportedTensor& tensor, int64_t first, std::span<float> out);

  // Of all values read so far, as the file has them.
  struct Norms {
    double squares = 0, absolutes = 0;
  };
  const Norms& norms(const ImportedTensor& tensor) const { return norms_.at(*tensor.source); }

 private:
  bool folds(const ImportedTensor& tensor) const;
  std::vector<double> folded(const ImportedTensor& tensor) const;
  std::vector<double> all_of(size_t source) const;

  const WeightFile& file_;
  const ImportPlan& plan_;
  std::vector<Norms> norms_;     // by tensor of the file
  std::vector<double> values_;   // what is read
  std::vector<double> changed_;  // the tensor that normalisation changes, whole
};

}  // namespace millrace
