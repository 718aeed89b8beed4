// The oneDNN versions of the convolution family (cpu/conv2d_onednn.cpp), registered beside the plain loops.
#pragma once

#include "core/registry.h"

namespace millrace::cpu {

void register_conv2d_onednn(Registry& r);

}  // namespace millrace::cpu
