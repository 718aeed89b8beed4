// How --help looks: every option with its default, lines of 100 columns.
#pragma once

namespace CLI {
class App;
}

namespace millrace {

// Before options are declared: of `app` and its subcommands.
void lay_out_help(CLI::App& app);
// After they are: adds the value that a variable has now to its option's description, "(default: 16)", unless
// it is empty or the description tells of a default itself.
void tell_defaults(CLI::App& app);

}  // namespace millrace
