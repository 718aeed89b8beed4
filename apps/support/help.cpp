#include "apps/support/help.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <sstream>
#include <string>

namespace millrace {
namespace {

constexpr size_t kNameColumns = 32, kColumns = 100;

std::string wrap(const std::string& text, size_t columns) {
  std::istringstream stream(text);
  std::string out;
  size_t used = 0;
  for (std::string word, next; stream >> word;) {
    if (word == "(default:" && stream >> next) word += " " + next;
    if (used > 0 && used + 1 + word.size() > columns) {
      out += '\n';
      used = 0;
    }
    if (used > 0) {
      out += ' ';
      ++used;
    }
    out += word;
    used += word.size();
  }
  return out;
}

class HelpFormatter final : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(kNameColumns); }

  // CLI11 parts groups by two empty lines.
  std::string make_group(std::string group, bool positional,
                         std::vector<const CLI::Option*> options) const override {
    const bool first = positional || group == get_label("Options");
    const std::string text = CLI::Formatter::make_group(group, positional, std::move(options));
    return first ? text : text.substr(1);
  }
  // CLI11 says "--no-x{false}".
  std::string make_option_name(const CLI::Option* option, bool positional) const override {
    return CLI::detail::find_and_replace(CLI::Formatter::make_option_name(option, positional), "{false}", "");
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    return wrap(CLI::Formatter::make_option_desc(option), kColumns - kNameColumns);
  }
};

}  // namespace

void lay_out_help(CLI::App& app) { app.formatter(std::make_shared<HelpFormatter>()); }

void tell_defaults(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string description = option->get_description();
    if (description.find("default") != std::string::npos) continue;
    std::string value = option->capture_default_str()->get_default_str();
    option->default_str("");
    if (value.starts_with('[') && value.ends_with(']')) value = value.substr(1, value.size() - 2);
    if (!value.empty() && value != "{}") option->description(description + " (default: " + value + ")");
  }
}

}  // namespace millrace
