// VGG16 (Simonyan & Zisserman, arXiv 1409.1556, configuration D) as a classifier of images or of stacked
// flows: 13 convolutions 3x3 in five groups, each group followed by a 2x2 max pooling, and three fully
// connected layers, all but the last rectified.
//
//   conv1_1 conv1_2 | conv2_1 conv2_2 | conv3_1..3 | conv4_1..3 | conv5_1..3 | fc6 fc7 fc8
//
// Names, widths, multipliers and starting values are those of the VGG_ILSVRC_16_layers of Caffe's model zoo
// and of Hidden Two-Stream's end_train_val.prototxt: biases learn at twice the rate and do not decay. The
// convolutions, fc6 and fc7 start by `msra`, fc8 from a Gaussian of .001. fc6 takes what is left of the
// image, 512 (H/32) (W/32) numbers, and lies in files as Caffe and PyTorch flatten (C,H,W): weights belong to
// one size of image. Parameters at full width and 224 x 224: 134,684,133 (20 channels, 101 classes),
// 134,479,283 (20, 51), 134,674,341 (3, 101); 15.96 GMAC with 20 channels.
#pragma once

#include <optional>
#include <string>

#include "core/params.h"

namespace millrace {

// Dropout behind fc6 and fc7, for graphs that train. The masks are the streams "<scope>.fc6" and
// "<scope>.fc7" of the step's numbers.
struct Vgg16Dropout {
  Value at;                   // i64 (2): {seed, step} (layers/dropout.h)
  double fc6 = .9, fc7 = .8;  // of the outputs dropped; 0 leaves the op out
};

struct Vgg16Options {
  std::string scope = "spatial";  // of parameters and nodes
  int64_t classes = 101;
  double channels = 1;  // factor of all widths but the classes', of the fully connected layers too
  double lr_mult = 1;   // of weights; biases twice that
  std::optional<Vgg16Dropout> dropout = {};
};

// Heights and widths of its images are multiples of this.
constexpr int64_t kVgg16Multiple = 32;

// images (N,H,W,C), normalised; returns logits (N, classes). Throws ErrorKind::usage for sizes that are no
// multiples of 32, fewer than one class, and a factor of widths that is not above 0.
Value vgg16(Graph& g, ParamStore& params, Value images, const Vgg16Options& options);

}  // namespace millrace
