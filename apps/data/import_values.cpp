#include "apps/data/import_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "data/weights/text.h"

namespace millrace {
namespace {

// torchvision's, of R, G, B; and two-stream-pytorch's of flows.
constexpr std::array<double, 3> kStd = {.229, .224, .225};
constexpr double kFlowStd = .226;
// Its flows are less 127.5, ours less 128.
constexpr double kFlowShift = .5;

}  // namespace

ImportValues::ImportValues(const WeightFile& file, const ImportPlan& plan)
    : file_(file), plan_(plan), norms_(file.tensors().size()) {}

// With torchvision's normalisation the first layer, and of a temporal stream its bias too, are not the
// file's.
bool ImportValues::folds(const ImportedTensor& tensor) const {
  if (plan_.normalisation != Normalisation::torchvision) return false;
  if (tensor.name.ends_with(".conv1_1.weight")) return true;
  return plan_.kind == ImportKind::vgg16_temporal && tensor.name.ends_with(".conv1_1.bias");
}

std::vector<double> ImportValues::all_of(size_t source) const {
  std::vector<double> values(static_cast<size_t>(file_.tensors()[source].count()));
  file_.read(source, 0, values);
  return values;
}

// A convolution of (x / 255 - m) / s is one of x - 255 m with its weights divided by 255 s, and pads with the
// same zeros: exact. R, G, B become B, G, R on the way. Flows differ by half a level besides, which goes into
// the bias: exact but for the ring of pixels that sees the padding.
std::vector<double> ImportValues::folded(const ImportedTensor& tensor) const {
  std::vector<double> values = all_of(*tensor.source);
  if (plan_.kind == ImportKind::vgg16_spatial) {
    const std::vector<double> theirs = values;
    const size_t kernel = 9, channels = kStd.size();
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t channel = i / kernel % channels, of_theirs = channels - 1 - channel;
      values[i] = theirs[i - channel * kernel + of_theirs * kernel] / (255 * kStd[of_theirs]);
    }
  } else if (tensor.name.ends_with(".weight")) {
    for (double& value : values) value /= 255 * kFlowStd;
  } else {
    const auto weight = std::find_if(plan_.tensors.begin(), plan_.tensors.end(), [](const ImportedTensor& t) {
      return t.name == "temporal.conv1_1.weight";
    });
    if (weight == plan_.tensors.end() || !weight->source) return values;
    const std::vector<double> weights = all_of(*weight->source);
    const size_t each = weights.size() / values.size();
    for (size_t i = 0; i < weights.size(); ++i)
      values[i / each] += kFlowShift * weights[i] / (255 * kFlowStd);
  }
  return values;
}

void ImportValues::read(const ImportedTensor& tensor, int64_t first, std::span<float> out) {
  const size_t source = *tensor.source;
  values_.resize(out.size());
  file_.read(source, first, values_);
  const bool changed = folds(tensor);
  if (changed && first == 0) changed_ = folded(tensor);
  for (size_t i = 0; i < out.size(); ++i) {
    norms_[source].squares += values_[i] * values_[i];
    norms_[source].absolutes += std::abs(values_[i]);
    out[i] = static_cast<float>(changed ? changed_[static_cast<size_t>(first) + i] : values_[i]);
    if (std::isfinite(out[i])) continue;
    fail(ErrorKind::data,
         {fmt::format("{}, tensor {}", file_.path().string(), in_quotes(file_.tensors()[source].name)),
          "finite weights", fmt::format("{} at element {}", values_[i], first + static_cast<int64_t>(i)),
          "The training that wrote them had diverged; take an earlier snapshot"});
  }
}

}  // namespace millrace
