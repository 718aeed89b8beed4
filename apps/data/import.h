// millrace-data import: weights of other programs become a checkpoint of a stream, or of MotionNet.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace millrace {

struct ImportArguments {
  std::string file, out, as = "auto", classes, normalisation = "auto", input;
  bool json = false;
};

void declare_import(CLI::App& app, ImportArguments& arguments);
int run_import(const ImportArguments& arguments);

}  // namespace millrace
