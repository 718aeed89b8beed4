// Late fusion: scores of several streams for the same videos become one (docs/evaluation.md).
//
// `relu_l1` is the authors' (Hidden Two-Stream's test/late_fusion.m): of each stream's averaged logits the
// negatives become 0 and the row is divided by its sum; then the weighted sum. A row without a positive logit
// would divide by 0: it contributes nothing, and is counted. `logits` and `softmax` are weighted sums of the
// logits and of their softmax.
//
// With two classes relu_l1 says nothing new: where a stream's two logits are of opposite signs, its row
// becomes (1, 0) or (0, 1), and the heavier stream decides alone whatever the other one saw.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/actions/scores.h"

namespace millrace {

// "Fusion" is already the registry's word for nodes that become one (core/registry.h).
enum class LateFusion { relu_l1, logits, softmax };
const char* fusion_name(LateFusion fusion);        // "relu-l1", as --fusion takes it
LateFusion parse_fusion(const std::string& text);  // ErrorKind::usage for another word
constexpr const char* kFusionNames = "relu-l1, logits or softmax";

// relu_l1, the authors'; with two classes softmax, and a line in the log says why. `asked` is taken as it is,
// with a warning where it is degenerate.
LateFusion choose_fusion(std::optional<LateFusion> asked, int64_t classes);

// 1:1.5 for two streams (spatial, temporal: the paper's section 3.3), else all 1.
std::vector<double> default_weights(int64_t streams);
// "1:1.5": finite numbers, none negative, one positive at least. ErrorKind::usage for another text, or
// another number of them than streams.
std::vector<double> parse_weights(const std::string& text, int64_t streams);
std::string weights_text(const std::vector<double>& weights);  // "1:1.5"

// One video. All rows have as many logits; a weight per row. `without_positive`, where given, is increased
// for each row that contributes nothing.
struct FusionRule {
  LateFusion fusion = LateFusion::relu_l1;
  std::vector<double> weights;
};
std::vector<float> fuse_rows(std::span<const std::vector<float>> rows, const FusionRule& rule,
                             std::vector<int64_t>* without_positive = nullptr);

struct Fused {
  Scores scores;                          // videos and classes in the first file's order
  std::vector<int64_t> without_positive;  // by file: rows that contributed nothing (relu_l1)
};
// Joins by the names of videos and classes, whatever their order. Errors (data): files with other videos,
// other classes or other labels, which name the first that differ and count them.
Fused fuse(const std::vector<Scores>& files, const FusionRule& rule);

// `scores` with its classes in the order of those of `like`; errors as fuse's.
Scores with_classes_of(const Scores& scores, const Scores& like);
// Rows of `scores` in the order of the classes and videos of `like`; errors as fuse's.
Scores aligned_to(const Scores& scores, const Scores& like);

}  // namespace millrace
