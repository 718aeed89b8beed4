// millrace-data join: a spatial and a temporal stream in one checkpoint, so that one folder is a recogniser.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace millrace {

struct JoinArguments {
  std::string spatial, temporal;  // files, checkpoints or runs
  std::string out;
};

void declare_join(CLI::App& app, JoinArguments& arguments);
// Weights are copied byte by byte. Errors: data for files without a stream, and streams whose classes, or
// whose order, differ; usage for two streams that are not a spatial and a temporal one; runtime for the disk,
// and then nothing is there.
int run_join(const JoinArguments& arguments);

}  // namespace millrace
