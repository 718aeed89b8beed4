// A stream of a two-stream recogniser: what it is (StreamSpec), its network, and how a file of weights says
// so. Source: Hidden Two-Stream (arXiv 1704.00389) and its end_train_val.prototxt.
//
//   spatial   one frame                                        -> VGG16, parameters spatial.*
//   temporal  L flows, stored as 8-bit pairs                   -> VGG16 of 2 L channels, temporal.*
//   stacked   L + 1 frames -> MotionNet -> flow_to_input       -> VGG16 of 2 L channels, motionnet.*,
//   temporal.*
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/params.h"
#include "core/safetensors.h"
#include "data/image.h"
#include "nets/motionnet.h"

namespace millrace {

enum class StreamKind { spatial, temporal, stacked };
// "spatial", "temporal", "stacked".
std::string name_of(StreamKind kind);

// All that is needed to run a stream. A checkpoint keeps it as JSON in its metadata.
struct StreamSpec {
  StreamKind kind = StreamKind::spatial;
  std::vector<std::string> classes = {};  // names by label
  Size input = {224, 224};                // of the network: multiples of 32
  Size resize = {256, 340};               // what frames are brought to before crops; 0x0: as they are
  double channels = 1;                    // factor of VGG16's widths
  int64_t flows = 10;                     // L, of temporal and stacked
  // spatial: subtracted from B, G, R, without a scale. Weights that were trained with another scale
  // (torchvision's) have it folded into conv1_1 when they are imported.
  std::array<double, 3> mean = {104, 117, 123};
  // temporal: 8-bit 0 and 255 stand for flows of -flow_bound and flow_bound pixels. The network sees the
  // numbers themselves, less 128.
  double flow_bound = 20;
  bool quantise = false, replicate = false;  // stacked: options of layers/flow_to_input.h
  MotionNetOptions motionnet = {};           // stacked: frames = flows + 1
  std::string provenance = {};               // free text: where the weights came from
};

// The first part of the parameters' names: "spatial", or "temporal" for both others.
std::string scope_of(const StreamSpec& spec);

// Images that a clip is made of: 1 frame, L + 1 frames, or L flows.
int64_t clip_frames(const StreamSpec& spec);
// Channels of each of those: 3 (B, G, R), of a flow 2 (u, v).
int64_t frame_channels(const StreamSpec& spec);
// Of `batch` clips: u8 (N,H,W,clip_frames frame_channels), image by image.
Spec clip_spec(const StreamSpec& spec, int64_t batch);

// What a graph that trains has besides.
struct StreamTraining {
  Value dropout_at;                     // i64 (2): {seed, step}
  double dropout6 = .9, dropout7 = .8;  // 0: none
  double lr_mult = 1;                   // of VGG16's weights; biases twice that. MotionNet's stay 1
};

struct StreamValues {
  Value logits;                              // (N, classes)
  Value images;                              // the normalised clip: what motion_loss takes of a stacked one
  Value input;                               // what VGG16 sees; of stacked streams the flows as images
  std::optional<MotionNetFlows> flows = {};  // of a stacked one
};

// The stream's graph: clip (clip_spec) to logits. With `training` it has dropout, else it is as the weights
// are used. Throws ErrorKind::usage for a spec that makes no network, and names its field.
StreamValues stream(Graph& g, ParamStore& params, Value clip, const StreamSpec& spec,
                    const std::optional<StreamTraining>& training = {});

// What a checkpoint's metadata says of the stream: "format", and the spec as JSON under "stream.spatial" or
// "stream.temporal" (scope_of). The streams of a file that joins two are both there.
std::map<std::string, std::string> stream_metadata(const StreamSpec& spec);

// The streams that a file of weights says it holds, spatial first. Throws ErrorKind::data where it says
// nothing, or what no stream could be.
std::vector<StreamSpec> streams_of(const SafetensorsReader& file);

}  // namespace millrace
