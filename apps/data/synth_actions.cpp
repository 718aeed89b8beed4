#include "apps/data/synth_actions.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/data/synth_folder.h"
#include "apps/data/work.h"
#include "apps/support/program.h"
#include "core/error.h"
#include "core/log.h"
#include "data/actions.h"
#include "data/synthetic.h"
#include "data/video_writer.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kFormat = "millrace action clips 1";
constexpr const char* kDescription = "actions.json";
constexpr const char* kClassList = "classInd.txt";
constexpr const char* kFormats = "avi, mp4, mkv, png, ppm or jpg";
constexpr int64_t kLeastSize = 32;

bool is_video(const std::string& format) { return format == "avi" || format == "mp4" || format == "mkv"; }

struct Part {
  const char* split;
  const char* list;
  int64_t default_count;
};
constexpr std::array kParts = {Part{"train", "trainlist01.txt", 360}, Part{"test", "testlist01.txt", 180}};

ActionOptions options_of(const SynthArguments& a, const Part& part) {
  ActionOptions o;
  o.kind = parse_action_kind(*a.actions, "--actions");
  o.classes = a.classes.value_or(0);
  if (a.classes == 0) fail(ErrorKind::usage, {"--classes", "2 or more", "0", ""});
  if (a.size) o.size = parse_size(*a.size, "--size", kLeastSize);
  if (a.frames) o.frames = *a.frames;
  if (a.seed) o.seed = *a.seed;
  o.split = part.split;
  const bool train = std::string(part.split) == "train";
  o.count = (train ? a.train : a.test).value_or(part.default_count);
  if (o.count < 1)
    fail(ErrorKind::usage, {fmt::format("--{}", part.split), "1 or more", std::to_string(o.count), ""});
  return checked(o);
}

class ActionSet {
 public:
  explicit ActionSet(const SynthArguments& a)
      : a_(a),
        format_(a.format.empty() ? "avi" : a.format),
        sources_{ActionSource(options_of(a, kParts[0])), ActionSource(options_of(a, kParts[1]))},
        folder_({.out = a.out, .description = kDescription, .format = kFormat}) {}

  int run() {
    begin();
    catch_signals();
    const int64_t train = sources_[0].size(), all = train + sources_[1].size();
    const auto work = [&](int64_t k) { write_clip(k < train ? 0 : 1, k < train ? k : k - train); };
    const int64_t done =
        work_on_items({.title = "synth", .unit = "clip", .count = all, .threads = a_.threads}, work);
    if (done < all) {
      log_warning(fmt::format(
          "stopped by a signal: {} of {} clips are there and whole, the same command goes on", done, all));
      return kExitInterrupted;
    }
    finish();
    return 0;
  }

 private:
  const ActionOptions& options() const { return sources_[0].options(); }

  ordered_json description(bool complete) const {
    const ActionOptions& o = options();
    ordered_json json{{"format", kFormat},
                      {"complete", complete},
                      {"actions", action_kind_name(o.kind)},
                      {"classes", sources_[0].classes()},
                      {"train", sources_[0].size()},
                      {"test", sources_[1].size()},
                      {"frames", o.frames},
                      {"height", o.size.height},
                      {"width", o.size.width},
                      {"seed", o.seed},
                      {"images", format_}};
    if (format_ == "jpg") json["quality"] = a_.quality;
    json["class_list"] = kClassList;
    json["train_list"] = kParts[0].list;
    json["test_list"] = kParts[1].list;
    json["millrace"] = version();
    return json;
  }

  void begin() {
    if (folder_.begun()) check_same();
    require_space();
    remove_partial_clips(folder_.path());
    folder_.describe(description(false));  // first, so that a set that is called complete has its lists
    for (const std::string& name : sources_[0].classes()) {
      make_folders(folder_.path() / name);
      remove_partial_clips(folder_.path() / name);
    }
    std::error_code error;
    for (const Part& part : kParts) fs::remove(folder_.path() / part.list, error);
  }

  // What is there must be the beginning of what is asked for.
  void check_same() const {
    const ordered_json was = folder_.description(), is = description(false);
    for (const char* key : {"train", "test"}) {
      const int64_t before = was.contains(key) && was[key].is_number_integer() ? was[key].get<int64_t>() : -1;
      if (before < 0) {
        fail(ErrorKind::data, {folder_.description_file(), fmt::format("a number \"{}\"", key), "none",
                               "Choose another --out"});
      }
      if (before > is[key]) folder_.refuse(key, fmt::format("at least {}", before), is[key].dump());
    }
    for (const char* key : {"actions", "classes", "frames", "height", "width", "seed", "images", "quality"}) {
      const auto text = [&](const ordered_json& j) { return j.contains(key) ? j[key].dump() : "none"; };
      if (text(was) != text(is)) folder_.refuse(key, text(was), text(is));
    }
    folder_.warn_of_other_version(was);
  }

  // The least it can take; of a video about what MPEG-4 takes for these patterns.
  void require_space() const {
    constexpr double kVideo = 0.2;
    const ActionOptions& o = options();
    const double clip = static_cast<double>(o.size.height * o.size.width) * static_cast<double>(o.frames) *
                        (is_video(format_) ? kVideo : bytes_per_pixel({format_, a_.quality}));
    const auto clips = static_cast<double>(sources_[0].size() + sources_[1].size());
    const double bytes = folder_.begun() ? 0 : clips * clip;  // of a set that was begun, most may be there
    require_free_space(folder_.path(), static_cast<uint64_t>(std::min(bytes, 1e18)));
  }

  // Below the folder, without an extension where it is a folder of frames.
  std::string path_of(const ActionSource& source, int64_t item) const {
    return fmt::format("{}/{}{}", source.classes()[static_cast<size_t>(*source.label(item))],
                       source.name(item), is_video(format_) ? "." + format_ : "");
  }

  void write_clip(size_t part, int64_t item) {
    const ActionSource& source = sources_[part];
    const fs::path path = folder_.path() / path_of(source, item);
    if (fs::exists(path)) return;
    const Clip clip = source.read({.item = item, .first = 0, .count = options().frames});
    if (is_video(format_)) {
      VideoWriter video({.path = path.string(), .size = options().size});
      for (const Image& frame : clip.frames) video.add(frame);
      video.finish();
      bytes_ += file_size_of(path);
    } else {
      bytes_ += write_frame_folder(clip, {format_, a_.quality}, path);
    }
    ++written_;
  }

  // UCF101's lists of videos; folders of frames with their lengths, as TSN has them. Labels count from 1, as
  // UCF101's do.
  std::string list_of(const ActionSource& source, bool labels) const {
    std::string list;
    for (int64_t item = 0; item < source.size(); ++item) {
      list += path_of(source, item);
      if (!is_video(format_)) list += fmt::format(" {}", options().frames);
      if (labels || !is_video(format_)) list += fmt::format(" {}", *source.label(item) + 1);
      list += '\n';
    }
    return list;
  }

  void finish() const {
    const std::vector<std::string>& classes = sources_[0].classes();
    std::string names;
    for (size_t k = 0; k < classes.size(); ++k) names += fmt::format("{} {}\n", k + 1, classes[k]);
    sync_folder(folder_.path());
    write_file_atomically(folder_.path() / kClassList, names);
    write_file_atomically(folder_.path() / kParts[0].list, list_of(sources_[0], true));
    write_file_atomically(folder_.path() / kParts[1].list, list_of(sources_[1], false));
    folder_.describe(description(true));
    if (a_.json) {
      ordered_json result = description(true);
      result["out"] = a_.out;
      result["written"] = written_.load();
      result["bytes_written"] = bytes_.load();
      std::cout << result.dump() << "\n";
      return;
    }
    const ActionOptions& o = options();
    fmt::print("{}: {} training and {} test clips of {} frames {}x{} as {}; {} written now, {}\n", a_.out,
               sources_[0].size(), sources_[1].size(), o.frames, o.size.width, o.size.height, format_,
               written_.load(), bytes_text(bytes_.load()));
    fmt::print("classes, by {}: {}\n", action_kind_name(o.kind), fmt::join(classes, ", "));
    fmt::print("train on it: twostream-train --data {0}/{1} --classes {0}/{2} --out RUN\n", a_.out,
               kParts[0].list, kClassList);
  }

  const SynthArguments& a_;
  std::string format_;
  std::array<ActionSource, 2> sources_;
  SetFolder folder_;
  std::atomic<int64_t> written_ = 0;
  std::atomic<uint64_t> bytes_ = 0;
};

}  // namespace

void declare_synth_actions(CLI::App& app, SynthArguments& a) {
  const std::string group = "Labelled clips";
  app.add_option(
         "--actions", a.actions,
         "motion, appearance or pair: labelled clips instead, whose class is how a pattern moves, what "
         "it looks like, or both")
      ->group(group);
  app.add_option("--classes", a.classes, "2 to 7 motions, 2 to 6 appearances (default: 4), 9 or 16 pairs")
      ->group(group);
  app.add_option("--train", a.train, "training clips, of all classes together (default: 360)")->group(group);
  app.add_option("--test", a.test, "test clips (default: 180)")->group(group);
  app.add_option("--size", a.size, "HEIGHTxWIDTH of the clips (default: 128x128)")->group(group);
}

int run_synth_actions(const SynthArguments& a) {
  const auto not_here = [](bool given, const char* flag) {
    if (given) {
      fail(ErrorKind::usage, {flag, "--train, --test, --size with --actions", "this flag",
                              "It is for textures without labels"});
    }
  };
  not_here(a.clips.has_value(), "--clips");
  not_here(a.split.has_value(), "--split");
  not_here(!a.options.empty(), "--options");
  if (is_video(a.format) || a.format.empty()) {
    require_video_writer();
  } else {
    check(FrameFormat{a.format, a.quality}, kFormats);
  }
  return ActionSet(a).run();
}

}  // namespace millrace
