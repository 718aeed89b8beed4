// millrace-data check: decodes all of a data set and names what is broken.
#pragma once

#include <cstdint>
#include <string>

namespace CLI {
class App;
}

namespace millrace {

struct CheckArguments {
  std::string data, data_root;
  int64_t min_frames = 2, threads = 0;
  bool json = false;
};

void declare_check(CLI::App& app, CheckArguments& arguments);
// 0 when all is whole, ErrorKind::data (3) when something is broken, 75 after a signal.
int run_check(const CheckArguments& arguments);

}  // namespace millrace
