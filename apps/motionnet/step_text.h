// What the progress bar says of a training step.
#pragma once

#include <map>
#include <string>

namespace millrace {

// "loss 1.3232 pixel 0.898 smooth 0.02 ssim 0.185": the terms summed over levels, and smoothness over u and
// v.
std::string loss_text(double loss, const std::map<std::string, double>& terms);

}  // namespace millrace
