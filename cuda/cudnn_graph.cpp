// GraphBuilder: the descriptors of tensors and operations.
#include "cuda/cudnn.h"

namespace millrace::cudnn {
namespace {

// 256 bytes are what the arena gives; 16 are the most that engines ask for.
constexpr int64_t kAlignmentBytes = 16;
constexpr cudnnDataType_t kMath = CUDNN_DATA_FLOAT;

}  // namespace

void GraphBuilder::tensor(int64_t id, const Shape& shape, cudnnDataType_t type, bool is_virtual,
                          bool by_value) {
  const std::array<int64_t, 4> extents{shape[0], shape[3], shape[1], shape[2]};
  const std::array<int64_t, 4> strides{shape[1] * shape[2] * shape[3], 1, shape[2] * shape[3], shape[3]};
  Descriptor d(api_, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, id)
      .set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type)
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, kAlignmentBytes)
      .set_many(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, extents.data())
      .set_many(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides.data());
  if (is_virtual) d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, true);
  if (by_value) d.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, true);
  tensors_[id] = d.finalize();
}

void GraphBuilder::convolution(cudnnBackendDescriptorType_t kind, Convolution c,
                               const std::array<int64_t, 3>& operands) {
  const std::array<int64_t, 2> ones{1, 1}, strides{c.stride, c.stride}, pads{c.pad, c.pad};
  Descriptor d(api_, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  d.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, int64_t{2})
      .set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, kMath)
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION)
      .set_many(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, ones.data())
      .set_many(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides.data())
      .set_many(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pads.data())
      .set_many(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pads.data())
      .finalize();
  // Each kind's names stand in one order: alpha, beta, the convolution, then the operands as given below.
  struct Names {
    cudnnBackendAttributeName_t alpha, beta, convolution;
    std::array<cudnnBackendAttributeName_t, 3> operands;
  };
  const Names forward{CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                      {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y}};
  const Names data{CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                   {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX}};
  const Names weights{
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW}};
  const Names& names = kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR         ? forward
                       : kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ? data
                                                                                              : weights;
  Descriptor operation(api_, kind);
  operation.set(names.convolution, d)
      .set(names.alpha, CUDNN_TYPE_FLOAT, 1.0f)
      .set(names.beta, CUDNN_TYPE_FLOAT, 0.0f);
  for (size_t i = 0; i < operands.size(); ++i) operation.set(names.operands[i], tensors_.at(operands[i]));
  operations_.push_back(operation.finalize());
}

void GraphBuilder::forward(Convolution c, int64_t x, int64_t w, int64_t y) {
  convolution(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, c, {x, w, y});
}
void GraphBuilder::backward_data(Convolution c, int64_t dy, int64_t w, int64_t dx) {
  convolution(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, c, {dy, w, dx});
}
void GraphBuilder::backward_weights(Convolution c, int64_t x, int64_t dy, int64_t dw) {
  convolution(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, c, {x, dy, dw});
}

namespace {

Descriptor pointwise(const Api& api, cudnnPointwiseMode_t mode) {
  Descriptor d(api, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  d.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode)
      .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, kMath);
  return d;
}

}  // namespace

void GraphBuilder::binary(cudnnPointwiseMode_t mode, int64_t a, int64_t b, int64_t y) {
  Descriptor operation(api_, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise(api_, mode).finalize())
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, tensors_.at(a))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, tensors_.at(b))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, tensors_.at(y));
  operations_.push_back(operation.finalize());
}

void GraphBuilder::leaky_relu(int64_t x, double slope, int64_t y) {
  Descriptor relu = pointwise(api_, CUDNN_POINTWISE_RELU_FWD);
  relu.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, CUDNN_TYPE_DOUBLE, slope).finalize();
  Descriptor operation(api_, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, relu)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, tensors_.at(x))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, tensors_.at(y));
  operations_.push_back(operation.finalize());
}

// cuDNN's x is what the activation was given; its result has the same sign.
void GraphBuilder::leaky_relu_dx(int64_t dy, int64_t y, double slope, int64_t dx) {
  Descriptor relu = pointwise(api_, CUDNN_POINTWISE_RELU_BWD);
  relu.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, CUDNN_TYPE_DOUBLE, slope).finalize();
  Descriptor operation(api_, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, relu)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, tensors_.at(dy))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, tensors_.at(y))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, tensors_.at(dx));
  operations_.push_back(operation.finalize());
}

void GraphBuilder::sum(int64_t x, int64_t y) {
  Descriptor reduction(api_, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  reduction.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, CUDNN_REDUCE_TENSOR_ADD)
      .set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, kMath)
      .finalize();
  Descriptor operation(api_, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, reduction)
      .set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, tensors_.at(x))
      .set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, tensors_.at(y));
  operations_.push_back(operation.finalize());
}

Descriptor GraphBuilder::finish(const Context& context) const {
  std::vector<cudnnBackendDescriptor_t> raw;
  for (const Descriptor& operation : operations_) raw.push_back(operation.raw());
  Descriptor graph(api_, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set_many(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                 static_cast<int64_t>(raw.size()), raw.data());
  context.attach(graph);
  return graph.finalize();
}

}  // namespace millrace::cudnn
