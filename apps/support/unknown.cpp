#include "apps/support/unknown.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"

namespace millrace {
namespace {

constexpr size_t kMostTypos = 3;

// Levenshtein's: characters to insert, leave out or change.
size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string nearest(const CLI::App& app, const std::string& flag) {
  std::string best;
  size_t least = std::min(kMostTypos, flag.size() / 2) + 1;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      const size_t typos = distance(flag, "--" + name);
      if (typos < least) best = "--" + name, least = typos;
    }
  }
  return best;
}

}  // namespace

void fail_unknown(const CLI::App& app) {
  const CLI::App* command = &app;
  for (const CLI::App* inner : app.get_subcommands()) command = inner;
  const std::vector<std::string> words = app.remaining(true);
  std::string name = command->get_name();
  if (command != &app) name = app.get_name() + " " + name;
  const auto option =
      std::find_if(words.begin(), words.end(), [](const auto& w) { return w.starts_with('-'); });
  if (option == words.end()) {
    const std::string word = words.empty() ? "" : words.front();
    std::string commands;
    for (const CLI::App* inner : command->get_subcommands({}))
      commands += (commands.empty() ? "" : ", ") + inner->get_name();
    if (!commands.empty())
      fail(ErrorKind::usage,
           {name, "a command: " + commands, "'" + word + "'", name + " --help explains them"});
    fail(ErrorKind::usage,
         {name, "options", "'" + word + "', which belongs to none", name + " --help lists them"});
  }
  const std::string flag = option->substr(0, option->find('=')), like = nearest(*command, flag);
  fail(ErrorKind::usage,
       {flag, "an option of " + name, "none",
        (like.empty() ? "" : "Is " + like + " meant? ") + std::string(name + " --help lists them")});
}

}  // namespace millrace
