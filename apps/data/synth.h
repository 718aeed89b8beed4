// millrace-data synth: the synthetic set as folders of frames with the true flow beside them, or labelled
// clips.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace millrace {

struct SynthArguments {
  std::string out, options, format;  // no format: png, and avi of labelled clips
  std::optional<std::string> split;
  std::optional<int64_t> clips, frames;
  std::optional<uint64_t> seed;
  int64_t quality = 95, threads = 0;
  bool json = false;
  std::optional<std::string> actions, size;  // of labelled clips, as what follows
  std::optional<int64_t> classes, train, test;
};

void declare_synth(CLI::App& app, SynthArguments& arguments);
int run_synth(const SynthArguments& arguments);

}  // namespace millrace
