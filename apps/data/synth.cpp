#include "apps/data/synth.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/data/synth_actions.h"
#include "apps/data/synth_folder.h"
#include "apps/data/work.h"
#include "apps/support/program.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/synthetic.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kFormat = "millrace synthetic set 1";
constexpr const char* kDescription = "synthetic.json";
constexpr const char* kList = "clips.txt";
constexpr const char* kPrefix = "synthetic:";

SyntheticOptions resolve(const SynthArguments& a) {
  SyntheticOptions o = parse_synthetic(a.options.starts_with(kPrefix) ? a.options : kPrefix + a.options);
  if (a.clips) o.count = *a.clips;
  if (a.frames) o.frames = *a.frames;
  if (a.seed) o.seed = *a.seed;
  if (a.split) o.split = *a.split;
  const auto word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
  };
  if (o.split.empty() || !std::all_of(o.split.begin(), o.split.end(), word)) {
    fail(ErrorKind::usage,
         {"--split", "train, val, or another name of letters, digits, _ and -", "'" + o.split + "'", ""});
  }
  if (o.frames < 2) {
    fail(ErrorKind::usage,
         {"--frames", "2 or more, flow is from one to the next", std::to_string(o.frames), ""});
  }
  return parse_synthetic(to_spec(o));  // ranges hold for flags as for options
}

// What a description says; a mistake there is none of the command line.
SyntheticOptions spec_of_file(const std::string& spec, const std::string& file) {
  try {
    return parse_synthetic(spec);
  } catch (const Error& e) {
    fail(ErrorKind::data, {file, "the options of a set", e.what(), "Choose another --out"});
  }
}

class SyntheticSet {
 public:
  explicit SyntheticSet(const SynthArguments& a)
      : a_(a),
        format_{a.format.empty() ? "png" : a.format, a.quality},
        source_(resolve(a)),
        options_(source_.options()),
        folder_({.out = a.out, .description = kDescription, .format = kFormat}) {}

  int run() {
    begin();
    catch_signals();
    const auto work = [this](int64_t item) { write_clip(item); };
    const int64_t done = work_on_items(
        {.title = "synth", .unit = "clip", .count = options_.count, .threads = a_.threads}, work);
    if (done < options_.count) {
      log_warning(
          fmt::format("stopped by a signal: {} of {} clips are there and whole, the same command goes on",
                      done, options_.count));
      return kExitInterrupted;
    }
    finish();
    return 0;
  }

 private:
  ordered_json description(bool complete) const {
    ordered_json json{
        {"format", kFormat},         {"complete", complete},           {"clips", options_.count},
        {"frames", options_.frames}, {"height", options_.size.height}, {"width", options_.size.width},
        {"images", format_.name}};
    if (format_.name == "jpg") json["quality"] = format_.quality;
    json["list"] = kList;
    json["spec"] = to_spec(options_);
    json["millrace"] = version();
    return json;
  }

  void begin() {
    if (folder_.begun()) check_same();
    require_space();
    remove_partial_clips(folder_.path());
    folder_.describe(description(false));  // first, so that a set that is called complete has its list
    std::error_code error;
    fs::remove(folder_.path() / kList, error);
  }

  // What is there must be the beginning of what is asked for.
  void check_same() const {
    const ordered_json was = folder_.description(), is = description(false);
    const std::string file = folder_.description_file();
    if (!was.contains("spec") || !was["spec"].is_string())
      fail(ErrorKind::data, {file, "the options of a set", "none", "Choose another --out"});
    SyntheticOptions before = spec_of_file(was["spec"].get<std::string>(), file);
    if (before.count > options_.count) {
      folder_.refuse("clips", fmt::format("at least {}", before.count), std::to_string(options_.count));
    }
    before.count = options_.count;
    if (to_spec(before) != to_spec(options_)) folder_.refuse("options", to_spec(before), to_spec(options_));
    for (const char* key : {"images", "quality"}) {
      const auto text = [&](const ordered_json& j) { return j.contains(key) ? j[key].dump() : "none"; };
      if (text(was) != text(is)) folder_.refuse(key, text(was), text(is));
    }
    folder_.warn_of_other_version(was);
  }

  void require_space() const {
    const auto is_clip = [](const fs::directory_entry& e) { return e.is_directory(); };
    const auto there = std::count_if(fs::directory_iterator(folder_.path()), {}, is_clip);
    const auto missing = static_cast<double>(std::max<int64_t>(0, options_.count - there));
    const auto pixels = static_cast<double>(options_.size.height * options_.size.width);
    const auto frames = static_cast<double>(options_.frames);
    const double bytes = missing * pixels * (frames * bytes_per_pixel(format_) + (frames - 1) * 8);
    require_free_space(folder_.path(), static_cast<uint64_t>(std::min(bytes, 1e18)));
  }

  void write_clip(int64_t item) {
    const fs::path folder = folder_.path() / source_.name(item);
    if (fs::exists(folder)) return;
    const Clip clip = source_.read({.item = item, .first = 0, .count = options_.frames, .want_truth = true});
    bytes_ += write_frame_folder(clip, format_, folder);
    ++written_;
  }

  void finish() const {
    std::string list;
    for (int64_t item = 0; item < options_.count; ++item)
      list += fmt::format("{} {} 0\n", source_.name(item), options_.frames);
    sync_folder(folder_.path());
    write_file_atomically(folder_.path() / kList, list);
    folder_.describe(description(true));
    if (a_.json) {
      ordered_json result = description(true);
      result["out"] = a_.out;
      result["written"] = written_.load();
      result["bytes_written"] = bytes_.load();
      std::cout << result.dump() << "\n";
      return;
    }
    fmt::print("{}: {} clips of {} frames {}x{} as {}, with their true flow; {} written now, {}\n", a_.out,
               options_.count, options_.frames, options_.size.width, options_.size.height, format_.name,
               written_.load(), bytes_text(bytes_.load()));
    fmt::print("train on it: motionnet-train --data {} --out RUN\n", a_.out);
  }

  const SynthArguments& a_;
  FrameFormat format_;
  SyntheticSource source_;
  const SyntheticOptions& options_;
  SetFolder folder_;
  std::atomic<int64_t> written_ = 0;
  std::atomic<uint64_t> bytes_ = 0;
};

}  // namespace

void declare_synth(CLI::App& app, SynthArguments& a) {
  app.footer(
      "writes OUT/synthetic_train_00000/img_00001.png, ..., flow00001.flo (the flow from frame 1 to 2), "
      "...,\n"
      "OUT/clips.txt (a list: folder, frames, label 0) and OUT/synthetic.json (all options)\n"
      "The pixels are those of motionnet-train --data synthetic:... with the same options (not as jpg).\n"
      "With --actions: OUT/up/up_train_00000.avi, ..., OUT/classInd.txt, OUT/trainlist01.txt and\n"
      "OUT/testlist01.txt (as UCF101 has them) and OUT/actions.json (all options)\n"
      "The same command goes on where it was stopped, and with more clips adds them.\n"
      "examples:\n"
      "  millrace-data synth --out textures --clips 500 --options size=128x192,layers=2,max_shift=4\n"
      "  millrace-data synth --out actions --actions motion --classes 4 --train 400 --test 200");
  app.add_option("--out", a.out, "folder of the set; new, empty, or begun by the same command")->required();
  app.add_option("--clips", a.clips, "how many (default: 64)");
  app.add_option("--frames", a.frames, "of each clip (default: 2, of labelled clips 16)");
  app.add_option("--split", a.split,
                 "train (the default), val, or another name: other clips over the same textures");
  app.add_option("--seed", a.seed, "of textures and clips (default: 1)");
  app.add_option("--options", a.options,
                 "size=HEIGHTxWIDTH, max_shift, max_zoom, max_rotation, layers, as behind synthetic:, "
                 "separated by commas; flags win over it");
  app.add_option("--format", a.format,
                 "png (the default), ppm (lossless and quick to read) or jpg; of labelled clips avi (the "
                 "default), mp4 or mkv as well");
  app.add_option("--quality", a.quality, "of jpg, 1 to 100 (default: 95)");
  app.add_option("--threads", a.threads, "0: all");
  app.add_flag("--json", a.json, "the result as one line of JSON on stdout");
  declare_synth_actions(app, a);
}

int run_synth(const SynthArguments& a) {
  set_threads(a.threads);  // for its check
  if (a.actions) return run_synth_actions(a);
  const auto with_actions = [](bool given, const char* flag) {
    if (given) fail(ErrorKind::usage, {flag, "--actions with it", "none", "It is for labelled clips"});
  };
  with_actions(a.classes.has_value(), "--classes");
  with_actions(a.train.has_value(), "--train");
  with_actions(a.test.has_value(), "--test");
  with_actions(a.size.has_value(), "--size");
  check(FrameFormat{a.format.empty() ? "png" : a.format, a.quality}, "png, ppm or jpg");
  if (a.clips && *a.clips < 1) fail(ErrorKind::usage, {"--clips", "1 or more", std::to_string(*a.clips), ""});
  return SyntheticSet(a).run();
}

}  // namespace millrace
