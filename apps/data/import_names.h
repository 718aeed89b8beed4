// What the tensors of other people's files are called here. Known are the layers of VGG16 as Caffe
// ("conv1_1", "fc8-1") and torchvision ("features.0", "classifier.6") name them, those of MotionNet, and the
// authors' merged files, where VGG16's layers end in "_vgg16" and plain names are MotionNet's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/weights/weight_file.h"

namespace millrace {

// One tensor of a file, as what it may be. "conv1_1.weight" without a suffix is a layer of both nets.
struct KnownTensor {
  size_t tensor = 0;           // of WeightFile::tensors()
  std::string vgg16 = {};      // "conv1_1.weight"; empty when it is none of VGG16's
  std::string motionnet = {};  // the same of MotionNet
  bool torchvision = false;    // named as torchvision does
};

struct KnownTensors {
  std::vector<KnownTensor> known;
  std::vector<size_t> unknown;  // all others

  bool torchvision() const;
  bool any_vgg16_only() const, any_motionnet_only() const;
};

// Errors (data): layers of a relative of VGG16 that is not it (batch normalisation, VGG19).
KnownTensors known_tensors(const WeightFile& file);

}  // namespace millrace
