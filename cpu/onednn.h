// The versions of kernels that oneDNN computes, registered beside the plain loops.
#pragma once

#include "core/registry.h"

namespace millrace::cpu {

void register_conv2d_onednn(Registry& r);   // cpu/conv2d_onednn.cpp
void register_reorder_onednn(Registry& r);  // cpu/reorder_onednn.cpp

}  // namespace millrace::cpu
