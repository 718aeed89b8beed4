// From logits to an order of classes with shares, as people read it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "apps/actions/fusion.h"

namespace millrace {

// What the streams' logits say together. `score` orders the classes exactly as twostream-eval does: the
// logits of one stream, what fuse_rows makes of several.
struct Verdict {
  std::vector<float> scores;
  // Of each class, from 0 to 1. They sum to 1, or are all 0 where relu-l1 finds no positive logit in any
  // stream. One stream: softmax of its logits. Several: by relu-l1 and softmax the scores divided by their
  // sum, by logits the softmax of the weighted mean.
  std::vector<double> shares;
};

// A row of logits per stream, and as many weights; of one stream the rule is not used.
Verdict verdict_of(std::span<const std::vector<float>> rows, const FusionRule& rule);

// Labels by falling score; of equal scores the first class comes first, as in twostream-eval.
std::vector<size_t> ranked(const std::vector<float>& scores);

// A class, its share and what else may be said about it, for lists and pictures.
struct RankedClass {
  std::string name;
  size_t label = 0;
  double share = 0;
  double score = 0;
};
std::vector<RankedClass> top_classes(const Verdict& verdict, const std::vector<std::string>& classes,
                                     int64_t most);

// A bar of `share` in at most `columns` characters, by eighths of a block, or of '#' without unicode.
std::string bar_text(double share, int64_t columns, bool unicode);

// How lines for people are laid out.
struct Screen {
  int64_t columns = 80;
  bool unicode = true, colour = false;
};
// "  1  Archery   93.2 %  ███████▌": a line per class. On a narrow terminal names are shortened, then bars
// go.
std::string ranking_text(const std::vector<RankedClass>& classes, const Screen& screen);

}  // namespace millrace
