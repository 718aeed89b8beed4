// A table of options that are flags, TOML keys and lines of --print-config at once: key learning_rate is the
// flag
// --learning-rate. Strongest first: flags, then the file of --config, then the preset.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace millrace {

struct OptionSpec {
  using Target =
      std::variant<std::string*, int64_t*, double*, bool*, std::vector<int64_t>*, std::vector<double>*,
                   std::vector<std::string>*>;  // texts: a flag that may be given again
  std::string key;
  Target target;
  std::string help;
  std::string group;
};

using OptionTable = std::vector<OptionSpec>;

// Declares a flag per option, bound to its target; a bool becomes --key and --no-key. Returns them in order.
std::vector<CLI::Option*> add_flags(CLI::App& app, const OptionTable& table);
// Copies the options whose flags were given on the command line.
void copy_given(const OptionTable& from, const std::vector<CLI::Option*>& flags, const OptionTable& to);

// Sets options from TOML text. Throws ErrorKind::usage with the line for an unknown key or a value of another
// type.
void read_toml(const std::string& text, const std::string& name, const OptionTable& table);
std::string to_toml(const OptionTable& table);
// One option as TOML writes it.
std::string value_text(const OptionSpec& option);

}  // namespace millrace
