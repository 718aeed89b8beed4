// Versions of kernels that are registered beside the plain loops, by the file of their op.
#pragma once

#include "core/registry.h"

namespace millrace::cpu {

void register_conv2d_onednn(Registry& r);   // cpu/conv2d_onednn.cpp
void register_conv2d_vector(Registry& r);   // cpu/conv2d_vector.cpp; after oneDNN's
void register_linear_onednn(Registry& r);   // cpu/linear_onednn.cpp
void register_reorder_onednn(Registry& r);  // cpu/reorder_onednn.cpp

}  // namespace millrace::cpu
