// Sums of the columns of an array of rows, in an order that no scheduling changes; cuda/conv2d_db.cu has the
// kernels.
#pragma once

#include "core/tensor.h"
#include "cuda/op.cuh"

namespace MILLRACE_CUDA_NS {

int64_t column_sums_workspace(const Shape& x);  // bytes
// sums(c) f32 = sum over n,i,j of x(n,i,j,c), x f32 or bf16.
void sum_columns(const Tensor& x, const Tensor& sums, void* workspace, void* stream);

}  // namespace MILLRACE_CUDA_NS
