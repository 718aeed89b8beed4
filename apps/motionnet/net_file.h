// Which net a file of weights holds, and which one a run trains.
#pragma once

#include <map>
#include <string>

#include "core/safetensors.h"
#include "nets/motionnet.h"

namespace millrace {

// As --net spells it: "motionnet" or "tiny-motionnet".
std::string name_of(MotionNetKind kind);
// Throws ErrorKind::usage for other names.
MotionNetKind parse_net(const std::string& name);
// The flags of motionnet-train that make this net: "--net motionnet --no-smooth-conv".
std::string flags_of(const MotionNetOptions& net);

// What a checkpoint records of its net.
std::map<std::string, std::string> net_metadata(const MotionNetOptions& net);
// The net that wrote the weights: from the file's metadata, else from names and shapes of its tensors. Throws
// ErrorKind::data when the file holds no MotionNet.
MotionNetOptions net_of_weights(const SafetensorsReader& file);
// Throws ErrorKind::data with the flags to use unless the file is of a net with the same layers. Widths and
// frames are left to ParamStore::load, which compares every shape.
void check_same_layers(const SafetensorsReader& file, const MotionNetOptions& net);

}  // namespace millrace
