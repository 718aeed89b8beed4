// What the command line of twostream-eval says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/actions/accuracy.h"
#include "apps/actions/fusion.h"
#include "apps/support/machine.h"

namespace millrace {

struct EvalSettings : MachineConfig {
  std::vector<std::string> weights;  // of a stream or of two; of each one for all splits or one a split
  std::vector<std::string> data;     // one a split
  std::string data_root, flow, classes, label_base = "auto";
  std::string train;  // empty: what the weights' run says
  int64_t clips = 25, crops = 10;
  bool share_flow = false, skip_missing = false;
  std::string fusion, fusion_weights;  // empty: as choose_fusion and default_weights say

  std::string on_error = "skip";
  std::string out;  // empty: default_out()
  bool overwrite = false, json = false;

  int64_t batch = 0;  // views of one run of a network; 0: 10 on a CPU, 50 on a GPU
  int64_t loader_threads = 1;
  std::string command;  // as it was typed, for the report

  bool skips_broken() const { return on_error == "skip"; }
  Protocol protocol() const { return {.level = level(), .clips = clips, .crops = crops}; }

 private:
  // One view of a video is what a clip's accuracy means in training.
  Level level() const { return clips == 1 && crops == 1 ? Level::clip : Level::video; }
};

// Throws ErrorKind::usage on what cannot be meant, naming the flag.
void check_settings(const EvalSettings& settings);

// "evaluation/testlist01-temporal-25x10": of the data, the weights and the protocol.
std::string default_out(const EvalSettings& settings);

}  // namespace millrace
