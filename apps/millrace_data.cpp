// millrace-data: makes data sets, checks them, shows what is in files, and imports weights.
#include <CLI/CLI.hpp>

#include "apps/data/check.h"
#include "apps/data/import.h"
#include "apps/data/inspect.h"
#include "apps/data/join.h"
#include "apps/data/synth.h"
#include "apps/support/program.h"
#include "core/error.h"

namespace millrace {
namespace {

struct Arguments {
  SynthArguments synth;
  CheckArguments check;
  InspectArguments inspect;
  ImportArguments imported;
  JoinArguments join;
};

void declare(CLI::App& app, Arguments& a) {
  app.require_subcommand(0, 1);  // 1 would hide which word is no command
  app.footer(
      "examples:\n"
      "  millrace-data synth --out textures --clips 500 --options size=128x192,layers=2\n"
      "  millrace-data check videos/\n"
      "  millrace-data check trainlist01.txt --data-root UCF-101 --json\n"
      "  millrace-data inspect runs/holiday\n"
      "  millrace-data inspect runs/holiday/checkpoints/step_000500/model.safetensors --stats\n"
      "  millrace-data import vgg16.caffemodel --out vgg16.safetensors\n"
      "  millrace-data join runs/spatial runs/stacked --out recogniser\n"
      "millrace-data COMMAND --help explains the options of each\n"
      "exit codes: 0 done, 1 failure, 2 usage, 3 bad data, 75 stopped by a signal");
  declare_synth(*app.add_subcommand("synth", "write moving textures with their true flow, or labelled clips"),
                a.synth);
  declare_check(*app.add_subcommand("check", "read a whole data set and name what is broken"), a.check);
  declare_inspect(*app.add_subcommand("inspect", "show what is in checkpoints, runs, lists, plans and media"),
                  a.inspect);
  declare_import(
      *app.add_subcommand("import", "make a checkpoint of weights from Caffe, PyTorch or elsewhere"),
      a.imported);
  declare_join(*app.add_subcommand("join", "make one recogniser of a spatial and a temporal stream"), a.join);
}

int run(const CLI::App& app, const Arguments& a) {
  if (app.got_subcommand("import")) return run_import(a.imported);
  if (app.got_subcommand("synth")) return run_synth(a.synth);
  if (app.got_subcommand("check")) return run_check(a.check);
  if (app.got_subcommand("inspect")) return run_inspect(a.inspect);
  if (app.got_subcommand("join")) return run_join(a.join);
  fail(ErrorKind::usage, {"millrace-data", "a command: synth, check, inspect, import or join", "none",
                          "millrace-data --help explains them"});
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::Arguments arguments;
  return millrace::run_program(
      {.name = "millrace-data",
       .about = "Makes data sets, checks them, shows what is in files, and imports weights.",
       .setup = [&](CLI::App& app) { millrace::declare(app, arguments); },
       .run = [&](CLI::App& app) { return millrace::run(app, arguments); }},
      argc, argv);
}
