#include "apps/support/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "core/error.h"

namespace millrace {
namespace {

std::string flag_of(const std::string& key) {
  std::string flag = key;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 32 || code == 127) {
      result += fmt::format("\\u{:04x}", code);
      continue;
    }
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + "\"";
}

// Shortest text that reads back as the same double, and as a float for TOML.
std::string number(double v) {
  std::string text = fmt::format("{}", v);
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

[[noreturn]] void wrong_type(const std::string& name, const OptionSpec& option, const toml::node& node,
                             const char* what) {
  fail(ErrorKind::usage, {fmt::format("{}:{}: {}", name, node.source().begin.line, option.key), what,
                          "a value of another type", ""});
}

template <class T> T need(std::optional<T> value, const std::string& name, const OptionSpec& option,
                          const toml::node& node, const char* what) {
  if (!value) wrong_type(name, option, node, what);
  return *value;
}

void set_from(const toml::node& node, const OptionSpec& option, const std::string& name) {
  std::visit(
      [&](auto* target) {
        using T = std::remove_pointer_t<decltype(target)>;
        if constexpr (std::is_same_v<T, std::string>) {
          *target = need(node.value_exact<std::string>(), name, option, node, "text in quotes");
        } else if constexpr (std::is_same_v<T, bool>) {
          *target = need(node.value_exact<bool>(), name, option, node, "true or false");
        } else if constexpr (std::is_same_v<T, int64_t>) {
          *target = need(node.value_exact<int64_t>(), name, option, node, "a whole number");
        } else if constexpr (std::is_same_v<T, double>) {
          *target = need(node.value<double>(), name, option, node, "a number");
        } else {
          using E = typename T::value_type;
          const toml::array* array = node.as_array();
          const char* what =
              std::is_same_v<E, std::string> ? "a list of texts in quotes" : "a list of numbers";
          if (!array) wrong_type(name, option, node, what);
          target->clear();
          for (const toml::node& e : *array) target->push_back(need(e.value<E>(), name, option, e, what));
        }
      },
      option.target);
}

}  // namespace

std::vector<CLI::Option*> add_flags(CLI::App& app, const OptionTable& table) {
  std::vector<CLI::Option*> flags;
  for (const OptionSpec& option : table) {
    const std::string flag = flag_of(option.key);
    CLI::Option* added = nullptr;
    if (bool* const* target = std::get_if<bool*>(&option.target)) {
      added = app.add_flag("--" + flag + ",!--no-" + flag, **target,
                           option.help + (**target ? " (default: on)" : " (default: off)"));
    } else {
      added = std::visit(
          [&](auto* target) -> CLI::Option* {
            using T = std::remove_pointer_t<decltype(target)>;
            if constexpr (std::is_same_v<T, bool>)
              return nullptr;
            else {
              CLI::Option* o = app.add_option("--" + flag, *target, option.help);
              if constexpr (std::is_same_v<T, std::vector<std::string>>)
                o->take_all()->allow_extra_args(false);
              else if constexpr (!std::is_arithmetic_v<T> && !std::is_same_v<T, std::string>)
                o->delimiter(',');
              return o;
            }
          },
          option.target);
    }
    flags.push_back(added->group(option.group));
  }
  return flags;
}

void copy_given(const OptionTable& from, const std::vector<CLI::Option*>& flags, const OptionTable& to) {
  for (size_t k = 0; k < from.size(); ++k) {
    if (flags[k]->count() == 0) continue;
    std::visit([&](auto* target) { *target = *std::get<decltype(target)>(from[k].target); }, to[k].target);
  }
}

void read_toml(const std::string& text, const std::string& name, const OptionTable& table) {
  toml::table parsed;
  try {
    parsed = toml::parse(text, name);
  } catch (const toml::parse_error& e) {
    fail(ErrorKind::usage,
         {fmt::format("{}:{}", name, e.source().begin.line), "TOML", std::string(e.description()), ""});
  }
  for (const auto& [key, node] : parsed) {
    const auto found =
        std::find_if(table.begin(), table.end(), [&](const OptionSpec& o) { return o.key == key.str(); });
    if (found == table.end()) {
      fail(ErrorKind::usage, {fmt::format("{}:{}", name, node.source().begin.line), "a known key",
                              "'" + std::string(key.str()) + "'", "--print-config shows all"});
    }
    set_from(node, *found, name);
  }
}

std::string value_text(const OptionSpec& option) {
  return std::visit(
      [](const auto* target) -> std::string {
        using T = std::remove_cv_t<std::remove_pointer_t<decltype(target)>>;
        if constexpr (std::is_same_v<T, std::string>)
          return quoted(*target);
        else if constexpr (std::is_same_v<T, bool>)
          return *target ? "true" : "false";
        else if constexpr (std::is_same_v<T, double>)
          return number(*target);
        else if constexpr (std::is_same_v<T, int64_t>)
          return std::to_string(*target);
        else {
          std::vector<std::string> parts;
          for (const auto& v : *target) {
            if constexpr (std::is_same_v<typename T::value_type, double>)
              parts.push_back(number(v));
            else if constexpr (std::is_same_v<typename T::value_type, std::string>)
              parts.push_back(quoted(v));
            else
              parts.push_back(std::to_string(v));
          }
          return fmt::format("[{}]", fmt::join(parts, ", "));
        }
      },
      option.target);
}

std::string to_toml(const OptionTable& table) {
  std::string text, group;
  for (const OptionSpec& option : table) {
    if (option.group != group) {
      group = option.group;
      text += (text.empty() ? "# " : "\n# ") + group + "\n";
    }
    text += fmt::format("{} = {}\n", option.key, value_text(option));
  }
  return text;
}

}  // namespace millrace
