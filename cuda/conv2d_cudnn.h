#pragma once

#include <string>

namespace millrace {
class Registry;
}

namespace millrace::cudnn {

// Versions of conv2d, conv2d_dx and conv2d_dw on the device "cuda":
//   cudnn          what is fused with the convolution is in its graph
//   cudnn-plain    the convolution alone, then our own kernels; cudnn-plain-2.. the engines listed next
// and both with -tf32, for plans of that precision. Each refuses what cuDNN lists no engine for.
void register_conv2d(Registry& registry);
std::string found_version();  // cuda/cudnn.h

}  // namespace millrace::cudnn
