// millrace-data inspect: what is in a file or folder, or what devices there are.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace millrace {

struct InspectArguments {
  std::vector<std::string> paths;
  bool stats = false, json = false, device = false;
};

void declare_inspect(CLI::App& app, InspectArguments& arguments);
int run_inspect(const InspectArguments& arguments);

}  // namespace millrace
