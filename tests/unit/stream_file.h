// Files of streams that nobody trained: small nets, random.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "apps/actions/stream.h"
#include "core/session.h"
#include "core/state.h"

namespace millrace::test {

// 32 or 64 pixels and a sixteenth of VGG16's widths: a view in about a millisecond.
inline StreamSpec tiny_stream(StreamKind kind, std::vector<std::string> classes = {"fall", "run", "wave"}) {
  const Size input = kind == StreamKind::stacked ? Size{64, 64} : Size{32, 64};
  return {.kind = kind,
          .classes = std::move(classes),
          .input = input,
          .resize = {72, 96},
          .channels = 1. / 16,
          .flows = 4,
          .motionnet = {.frames = 5, .channels = .05},
          .provenance = "random weights of a test"};
}

inline void write_stream(const std::filesystem::path& path, const StreamSpec& spec, uint64_t seed = 1) {
  Graph g;
  ParamStore params;
  stream(g, params, g.input("clip", clip_spec(spec, 1)), spec);
  const auto device = make_device("cpu");
  State state(*device);
  params.initialise(state, Dtype::f32, seed);
  params.save(path, state, {{kParams, ""}}, stream_metadata(spec));
}

}  // namespace millrace::test
