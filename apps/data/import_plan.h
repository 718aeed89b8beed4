// What of a file of weights becomes what of a stream: decided, and every shape held against the network,
// before anything is written.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/actions/stream.h"
#include "apps/data/import_names.h"
#include "data/lists.h"

namespace millrace {

enum class ImportKind { vgg16_spatial, vgg16_temporal, hidden, motionnet };
std::string name_of(ImportKind kind);  // as --as spells it

// How the images that a VGG16 was trained on became its input.
enum class Normalisation {
  caffe,  // B, G, R from 0 to 255 less 104, 117, 123; flows from 0 to 255 less 128
  // R, G, B from 0 to 1, less .485, .456, .406, divided by .229, .224, .225: torchvision's ImageNet; flows
  // from 0 to 1 less .5, divided by .226: two-stream-pytorch's
  torchvision,
};

struct ImportOptions {
  std::optional<ImportKind> kind = {};              // else by the file's names and shapes
  std::optional<Normalisation> normalisation = {};  // else by whose names the layers have
  std::optional<Size> input = {};                   // else by what fc6 takes
  std::optional<ClassNames> classes = {};           // else "0", "1", ... as many as fc8 has
  std::string classes_file = {};                    // for messages
};

struct ImportedTensor {
  std::string name = {};  // "spatial.conv1_1.weight"
  std::vector<int64_t> shape = {};
  std::optional<size_t> source = {};  // of WeightFile::tensors(); nothing when the file has none
};

struct ImportPlan {
  ImportKind kind = ImportKind::vgg16_spatial;
  Normalisation normalisation = Normalisation::caffe;
  std::optional<StreamSpec> stream = {};           // of all but motionnet
  std::optional<MotionNetOptions> motionnet = {};  // of motionnet and hidden
  std::vector<ImportedTensor> tensors = {};        // all parameters of the network, in its order
  std::vector<size_t> unmatched = {};              // tensors of the file that are none of them

  bool partial() const;
};

// Errors: data where the file holds nothing of VGG16 or MotionNet, or a tensor of theirs fits no network;
// usage for options that contradict each other.
ImportPlan plan_import(const WeightFile& file, const ImportOptions& options);

}  // namespace millrace
