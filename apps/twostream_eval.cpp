// twostream-eval: how good trained streams are on videos they have not seen; and score files, fused and
// measured.
#include <CLI/CLI.hpp>

#include "apps/actions/evaluate.h"
#include "apps/actions/fuse_command.h"
#include "apps/support/program.h"

namespace millrace {
namespace {

constexpr const char* kFooter =
    "The paper's protocol by default: 25 clips of a video by 10 crops, their logits averaged. Metric names "
    "say\n"
    "what was done: top1/video@25x10, mean_class/video@25x10, top5/video@25x10; top1/clip@1x1 of one view.\n"
    "writes to --out\n"
    "  scores.csv    averaged logits of each video; of two streams in spatial/ and temporal/\n"
    "  fused.csv     of two streams: their fused scores\n"
    "  metrics.json  all numbers, what --json prints\n"
    "  report.html   one page: confusion matrix, classes, mistakes with pictures, curves, speed\n"
    "and of several splits (--data repeated) the scores in split1/, split2/, ... It can be stopped at any\n"
    "moment: finished videos are kept, and the same command goes on.\n"
    "examples:\n"
    "  twostream-eval --weights runs/temporal --data testlist01.txt --data-root UCF-101\n"
    "  twostream-eval --weights runs/spatial --weights runs/temporal --data videos/test --clips 5 --crops 2\n"
    "  twostream-eval --weights runs/two-stage --data testlist01.txt --flow flow/\n"
    "  twostream-eval --weights s1 --weights s2 --weights s3 --data testlist01.txt --data testlist02.txt \\\n"
    "                 --data testlist03.txt --data-root UCF-101\n"
    "  twostream-eval --fuse spatial/scores.csv temporal/scores.csv --weights 1:1.5\n"
    "  (twostream-eval --fuse --help tells of --fuse)\n"
    "exit codes: 0 done, 1 failure, 2 usage, 3 bad data, 4 device, 5 weights that are not finite,\n"
    "75 stopped by a signal";

void declare_data(CLI::App& app, EvalSettings& s) {
  app.add_option("--weights", s.weights,
                 "a .safetensors file, a checkpoint or a run: of one stream, or twice, of a spatial and a "
                 "temporal one; of each one for all splits or one for each")
      ->required()
      ->take_all();
  app.add_option("--data", s.data,
                 "a list (.txt, .lst, .list, .csv, hmdb51:), a folder of class folders, or synthetic:; "
                 "repeated: several splits")
      ->required()
      ->take_all();
  app.add_option("--data-root", s.data_root,
                 "where the paths of lists begin; without it in the list's own folder");
  app.add_option("--flow", s.flow,
                 "folder of stored flow as motionnet-flow --format jpg writes it, for a temporal stream that "
                 "reads such");
  app.add_option(
      "--classes", s.classes,
      "a file of the classes' names by label (classInd.txt, or names alone), where the data has only "
      "numbers");
  app.add_option("--label-base", s.label_base, "of a list's labels: auto, 0 or 1");
  app.add_flag("--skip-missing", s.skip_missing,
               "leave out, with a warning, what a list names and the disk lacks; else that is an error");
  app.add_option("--on-error", s.on_error, "a video that is broken: skip, named and counted; or fail");
  app.add_option(
      "--train", s.train,
      "the training's list or folder, to warn of test videos in it; without it what the weights' run "
      "was trained on");
}

void declare_protocol(CLI::App& app, EvalSettings& s) {
  const char* group = "Protocol";
  app.add_option("--clips", s.clips, "of each video, evenly spread; 1: the one in the middle")->group(group);
  app.add_option("--crops", s.crops,
                 "of each clip: 1 the centre, 2 it and its mirror image, 5 corners and centre, 10 these and "
                 "mirrored")
      ->group(group);
  app.add_flag(
         "--share-flow", s.share_flow,
         "of a stacked stream: MotionNet runs once a clip and mirroring, on the whole frame, instead of on "
         "each crop; faster with 5 or 10 crops, and not quite the same scores")
      ->group(group);
  app.add_option(
         "--fusion", s.fusion,
         std::string("of two streams: ") + kFusionNames + " (default: relu-l1; of two classes softmax)")
      ->group(group);
  app.add_option("--fusion-weights", s.fusion_weights, "of spatial and temporal (default: 1:1.5)")
      ->group(group);
}

void declare_output(CLI::App& app, EvalSettings& s) {
  const char* group = "Output";
  app.add_option("--out", s.out, "folder to write to (default: evaluation/<data>-<weights>-<clips>x<crops>)")
      ->group(group);
  app.add_flag("--overwrite", s.overwrite, "replace what --out holds of an evaluation")->group(group);
  app.add_flag("--json", s.json, "results as one line of JSON on stdout")->group(group);
}

void declare_machine(CLI::App& app, EvalSettings& s) {
  const char* group = "Machine";
  app.add_option("--batch", s.batch, "views that a network takes at once; 0: 10 on a CPU, 50 on a GPU")
      ->group(group);
  app.add_option("--loader-threads", s.loader_threads, "of decoding and cropping")->group(group);
  add_flags(app, machine_flags(s, group));
}

void declare(CLI::App& app, EvalSettings& s) {
  app.footer(kFooter);
  declare_data(app, s);
  declare_protocol(app, s);
  declare_output(app, s);
  declare_machine(app, s);
}

int run(EvalSettings& settings) {
  check_settings(settings);
  set_threads(settings.threads);
  return Evaluation(settings).run();
}

// As a shell would take it.
std::string command_of(int argc, char** argv) {
  std::string command;
  for (int k = 0; k < argc; ++k) {
    std::string word = k == 0 ? "twostream-eval" : argv[k];
    const bool plain =
        !word.empty() && word.find_first_of(" \t\n\"'\\$`*?[]();&|<>#~!{}") == std::string::npos;
    if (!plain) {
      std::string quoted = "'";
      for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
      word = quoted + "'";
    }
    command += (k == 0 ? "" : " ") + word;
  }
  return command;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  if (millrace::asks_to_fuse(argc, argv)) return millrace::fuse_program(argc, argv);
  millrace::EvalSettings settings;
  settings.command = millrace::command_of(argc, argv);
  return millrace::run_program(
      {.name = "twostream-eval",
       .about = "How good trained streams are: accuracy on videos, with their scores.",
       .setup = [&](CLI::App& app) { millrace::declare(app, settings); },
       .run = [&](CLI::App&) { return millrace::run(settings); }},
      argc, argv);
}
