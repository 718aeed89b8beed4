#include "apps/motionnet/step_text.h"

#include <fmt/format.h>

namespace millrace {

std::string loss_text(double loss, const std::map<std::string, double>& terms) {
  std::map<std::string, double> sums;
  for (const auto& [name, value] : terms) sums[name.substr(0, name.find_first_of("_0123456789"))] += value;
  std::string text = fmt::format("loss {:.4f}", loss);
  for (const auto& [name, value] : sums) text += fmt::format(" {} {:.3g}", name, value);
  return text;
}

}  // namespace millrace
