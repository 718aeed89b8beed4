// Caffe's .caffemodel: a protobuf NetParameter, by the protobuf library with a schema of our own
// (caffemodel.proto), in all three forms that layers have had. Blobs are named layer + ".weight", ".bias" for
// layers of weights and biases, else layer + ".blob0", ... Source: BVLC/caffe, src/caffe/proto/caffe.proto.
#pragma once

#include "data/weights/weight_file.h"

namespace millrace {

// Errors (data): also for a blob whose data is not what its shape says, and for a layer's name twice.
WeightFilePtr open_caffemodel(const std::filesystem::path& path);

// Whether the bytes at the front of a file can be those of a NetParameter. A cheap look, which other files of
// protobuf pass as well.
bool begins_like_caffemodel(std::string_view front);

}  // namespace millrace
