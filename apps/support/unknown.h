// Words on the command line that mean nothing.
#pragma once

namespace CLI {
class App;
}

namespace millrace {

// Throws ErrorKind::usage with the first of them, and the option that is spelt most like it.
[[noreturn]] void fail_unknown(const CLI::App& app);

}  // namespace millrace
