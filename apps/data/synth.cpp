#include "apps/data/synth.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/data/work.h"
#include "apps/support/program.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/encode.h"
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

// A set on its way to disk. The folder of a clip appears whole: until then it is hidden, and readers pass
// over hidden folders.
class SyntheticSet {
 public:
  explicit SyntheticSet(const SynthArguments& a)
      : a_(a), out_(a.out), source_(resolve(a)), options_(source_.options()) {}

  int run() {
    enter();
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
  bool is_jpeg() const { return a_.format == "jpg"; }

  ordered_json description(bool complete) const {
    ordered_json json{
        {"format", kFormat},         {"complete", complete},           {"clips", options_.count},
        {"frames", options_.frames}, {"height", options_.size.height}, {"width", options_.size.width},
        {"images", a_.format}};
    if (is_jpeg()) json["quality"] = a_.quality;
    json["list"] = kList;
    json["spec"] = to_spec(options_);
    json["millrace"] = version();
    return json;
  }

  void describe_on_disk(bool complete) const {
    write_file_atomically(out_ / kDescription, description(complete).dump(2) + "\n");
  }

  // A new folder, or one in which the same set was begun.
  void enter() {
    std::error_code error;
    const bool known = fs::exists(out_ / kDescription, error);
    if (!known && fs::exists(out_, error) && !(fs::is_directory(out_, error) && fs::is_empty(out_, error))) {
      fail(ErrorKind::usage, {"--out " + a_.out, "a new or empty folder, or a set that was begun",
                              "one with other things in it", "Nothing is overwritten; choose another"});
    }
    make_folders(out_);
    lock_ = FileHandle(::open(out_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      fail(ErrorKind::usage,
           {"--out " + a_.out, "a folder for this process alone", "another that writes there", ""});
    }
    if (known) check_same();
    require_space();
    remove_stale_temporary_files(out_);
    for (const fs::directory_entry& entry : fs::directory_iterator(out_)) {
      if (entry.path().filename().string().starts_with(".synthetic_") &&
          entry.path().extension() == ".partial")
        fs::remove_all(entry.path());
    }
    describe_on_disk(false);  // first, so that a set that is called complete has its list
    fs::remove(out_ / kList, error);
  }

  // What is there must be the beginning of what is asked for.
  void check_same() const {
    const std::string file = (out_ / kDescription).string();
    const auto was = ordered_json::parse(read_file(file, 1 << 20), nullptr, false);
    const auto text_of = [&](const char* key) {
      return was.contains(key) && was[key].is_string() ? was[key].get<std::string>() : "";
    };
    if (text_of("format") != kFormat || text_of("spec").empty()) {
      fail(ErrorKind::data, {file, fmt::format("\"{}\"", kFormat), "something else", "Choose another --out"});
    }
    const ordered_json is = description(false);
    const auto refuse = [&](const std::string& what, const std::string& before, const std::string& now) {
      fail(ErrorKind::usage, {"--out " + a_.out + ": " + what, before + " as the set there has it", now,
                              "Choose another --out"});
    };
    SyntheticOptions before = spec_of_file(text_of("spec"), file);
    if (before.count > options_.count) {
      refuse("clips", fmt::format("at least {}", before.count), std::to_string(options_.count));
    }
    before.count = options_.count;
    if (to_spec(before) != to_spec(options_)) refuse("options", to_spec(before), to_spec(options_));
    for (const char* key : {"images", "quality"}) {
      const auto text = [&](const ordered_json& j) { return j.contains(key) ? j[key].dump() : "none"; };
      if (text(was) != text(is)) refuse(key, text(was), text(is));
    }
    if (text_of("millrace") != version()) {
      log_warning(fmt::format("{}: begun by version {}, this is {}: clips might differ", file,
                              text_of("millrace"), version()));
    }
  }

  // The least it can take: PNG and JPEG may need more.
  void require_space() const {
    const auto is_clip = [](const fs::directory_entry& e) { return e.is_directory(); };
    const auto there = std::count_if(fs::directory_iterator(out_), {}, is_clip);
    const auto missing = static_cast<double>(std::max<int64_t>(0, options_.count - there));
    const auto pixels = static_cast<double>(options_.size.height * options_.size.width);
    const double image = pixels * (a_.format == "ppm" ? 3 : is_jpeg() ? 0.1 : 1);
    const auto frames = static_cast<double>(options_.frames);
    const double bytes = missing * (frames * image + (frames - 1) * 8 * pixels);
    require_free_space(out_, static_cast<uint64_t>(std::min(bytes, 1e18)));
  }

  std::string encode(const Image& image) const {
    if (is_jpeg()) return encode_jpeg(image, static_cast<int>(a_.quality));
    return a_.format == "png" ? encode_png(image) : encode_pnm(image);
  }

  void write_clip(int64_t item) {
    const fs::path folder = out_ / source_.name(item);
    if (fs::exists(folder)) return;
    const fs::path partial = out_ / ("." + source_.name(item) + ".partial");
    try {
      make_folders(partial);
      const Clip clip =
          source_.read({.item = item, .first = 0, .count = options_.frames, .want_truth = true});
      for (size_t k = 0; k < clip.frames.size(); ++k) {
        const std::string bytes = encode(clip.frames[k]);
        write_file_atomically(partial / fmt::format("img_{:05}.{}", k + 1, a_.format), bytes);
        bytes_ += bytes.size();
      }
      for (size_t k = 0; k < clip.truth.size(); ++k)
        write_flo(partial / fmt::format("flow{:05}.flo", k + 1), clip.truth[k]);
      bytes_ += clip.truth.size() * (12 + sizeof(float) * clip.truth.front().uv.size());
      sync_folder(partial);
      rename_path(partial, folder);
    } catch (...) {
      std::error_code ignored;
      fs::remove_all(partial, ignored);
      throw;
    }
    ++written_;
  }

  void finish() const {
    std::string list;
    for (int64_t item = 0; item < options_.count; ++item)
      list += fmt::format("{} {} 0\n", source_.name(item), options_.frames);
    sync_folder(out_);
    write_file_atomically(out_ / kList, list);
    describe_on_disk(true);
    if (a_.json) {
      ordered_json result = description(true);
      result["out"] = a_.out;
      result["written"] = written_.load();
      result["bytes_written"] = bytes_.load();
      std::cout << result.dump() << "\n";
      return;
    }
    fmt::print("{}: {} clips of {} frames {}x{} as {}, with their true flow; {} written now, {}\n", a_.out,
               options_.count, options_.frames, options_.size.width, options_.size.height, a_.format,
               written_.load(), bytes_text(bytes_.load()));
    fmt::print("train on it: motionnet-train --data {} --out RUN\n", a_.out);
  }

  const SynthArguments& a_;
  fs::path out_;
  SyntheticSource source_;
  const SyntheticOptions& options_;
  FileHandle lock_;
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
      "The same command goes on where it was stopped, and with more --clips adds them.\n"
      "example:\n"
      "  millrace-data synth --out textures --clips 500 --options size=128x192,layers=2,max_shift=4");
  app.add_option("--out", a.out, "folder of the set; new, empty, or begun by the same command")->required();
  app.add_option("--clips", a.clips, "how many (default: 64)");
  app.add_option("--frames", a.frames, "of each clip (default: 2)");
  app.add_option("--split", a.split,
                 "train (the default), val, or another name: other clips over the same textures");
  app.add_option("--seed", a.seed, "of textures and clips (default: 1)");
  app.add_option("--options", a.options,
                 "size=HEIGHTxWIDTH, max_shift, max_zoom, max_rotation, layers, as behind synthetic:, "
                 "separated by commas; flags win over it");
  app.add_option("--format", a.format, "png, ppm (lossless and quick to read) or jpg");
  app.add_option("--quality", a.quality, "of jpg, 1 to 100 (default: 95)");
  app.add_option("--threads", a.threads, "0: all");
  app.add_flag("--json", a.json, "the result as one line of JSON on stdout");
}

int run_synth(const SynthArguments& a) {
  if (a.format != "png" && a.format != "ppm" && a.format != "jpg")
    fail(ErrorKind::usage, {"--format", "png, ppm or jpg", "'" + a.format + "'", ""});
  if (a.quality < 1 || a.quality > 100)
    fail(ErrorKind::usage, {"--quality", "1 to 100", std::to_string(a.quality), ""});
  if (a.clips && *a.clips < 1) fail(ErrorKind::usage, {"--clips", "1 or more", std::to_string(*a.clips), ""});
  set_threads(a.threads);  // for its check
  return SyntheticSet(a).run();
}

}  // namespace millrace
