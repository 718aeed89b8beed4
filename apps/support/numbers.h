// Numbers on the command line, as they are written or not at all.
#pragma once

namespace CLI {
class App;
}

namespace millrace {

// After options are declared: "", text, "1e400", "nan" and whole numbers beyond 64 bits are no numbers. CLI11
// takes an empty word for 0 and cuts large numbers to the largest.
void check_numbers(CLI::App& app);

}  // namespace millrace
