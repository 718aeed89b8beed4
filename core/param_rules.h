// How fast parameters learn, by patterns of their names: what --freeze and --lr-mult ask for.
#pragma once

#include <string>
#include <vector>

namespace millrace {

struct ParamRule {
  // As of files in a shell (fnmatch): * is any number of characters, dots too, ? one, [1-3] one of these.
  std::string pattern = {};
  double lr_mult = 1;  // factor of the net's own; 0: these parameters do not train
};

// The factor of the last rule whose pattern matches; 1 where none does.
double rule_factor(const std::vector<ParamRule>& rules, const std::string& name);

// Throws ErrorKind::usage on a factor that is no finite number from 0.
void check_factors(const std::vector<ParamRule>& rules);

// Throws ErrorKind::usage on a pattern that matches none of the names, with those that are most like it.
void check_patterns(const std::vector<ParamRule>& rules, const std::vector<std::string>& names);

}  // namespace millrace
