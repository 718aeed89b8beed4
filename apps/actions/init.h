// Where a stream's weights start from: --init [PART=]FILE. Parts are the first words of parameters' names:
// motionnet, temporal, spatial.
//
// A part is taken whole or not at all, but for what another task needs anew:
// - fc8, where number, names or order of the classes are not those of the file: it keeps what
//   ParamStore::initialise() drew, a Gaussian of deviation 0.001 and biases of 0.
// - fc6 to fc8, fc7 and fc8 or fc8, where the file ends before them (the convolutions alone of a network that
//   was trained for something else): they keep what was drawn.
// - conv1_1 across modalities, when temporal= is given a file that has no temporal.* but spatial.*: its
// filters
//   averaged over the three colours and repeated for each of the 2 L channels (Wang et al., Temporal Segment
//   Networks, 2016, "cross-modality pre-training"). All other layers are taken as they are.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "apps/actions/stream.h"
#include "core/params.h"

namespace millrace {

struct InitPart {
  std::string part = {};            // "": each part of the stream that the file has
  std::filesystem::path path = {};  // a file, checkpoint or run (resolve_weights)
};

// "motionnet=FILE" or "FILE". Throws ErrorKind::usage for another word before '=' where no file is named so.
InitPart parse_init(const std::string& text);

// Fills parameters of `params`, whose nets are built and whose State is initialised. A named part goes before
// files without one. Returns what was done, a sentence for each file and part: for the log, and as
// provenance. Nothing is changed unless everything fits: ErrorKind::usage  a part that the stream does not
// have, or two files for one part ErrorKind::data   no such file, a broken one, one without weights of the
// part; tensors that are missing or of
//                   another shape, named with what matched; a weight that is not finite
std::vector<std::string> initialise_parts(const std::vector<InitPart>& parts, const StreamSpec& spec,
                                          const ParamStore& params, State& state);

}  // namespace millrace
