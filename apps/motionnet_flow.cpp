// motionnet-flow: optical flow of videos, frame folders and image pairs by a trained MotionNet.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/motionnet/estimator.h"
#include "apps/support/program.h"
#include "core/files.h"
#include "core/log.h"
#include "core/run_dir.h"
#include "data/picture.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::string weights, data_root, out, truth, device = "auto";
  std::vector<std::string> data, formats{"flo"};
  int64_t height = 0, width = 0, threads = 0, border = 0, every = 1;
  double radius = 0;
  bool skip_missing = false, native = false, json = false;
};

void declare(CLI::App& app, Arguments& a) {
  app.footer(
      "writes OUT/<video or folder>/flow_00001.flo, one per pair of frames, in pixels of the written "
      "resolution\n"
      "examples:\n"
      "  motionnet-flow --weights runs/holiday --data holiday.mp4 --out flow --format png\n"
      "  motionnet-flow --weights runs/holiday --data frame10.png frame11.png --truth flow10.flo\n"
      "exit codes: 0 done, 1 failure, 2 usage, 3 bad data, 4 device, 75 stopped by a signal");
  app.add_option("--weights", a.weights, "a .safetensors file, a checkpoint or a run")->required();
  app.add_option("--data", a.data,
                 "a video, a folder of videos or frames, a list of these (.txt), synthetic:, or two images")
      ->required()
      ->expected(1, 2);
  app.add_option("--data-root", a.data_root,
                 "where the paths of a list begin; without it in the list's own folder");
  app.add_flag("--skip-missing", a.skip_missing,
               "leave out, with a warning, what a list names and the disk lacks; else that is an error");
  app.add_option("--out", a.out, "folder to write to; needed unless there is truth to compare with");
  app.add_option("--format", a.formats, "flo (Middlebury), png (colours) or both: flo,png")->delimiter(',');
  app.add_option("--every", a.every, "only every so-manieth clip of a video");
  app.add_flag("--native", a.native, "the network's own half resolution, not the frames'");
  app.add_option("--truth", a.truth, "true flow: a .flo file for two images, or a folder of flow_%05d.flo");
  app.add_option("--epe-border", a.border, "pixels at each edge left out of the end-point error");
  app.add_option("--max-flow", a.radius,
                 "length in pixels of full colour; 0: of each picture's longest but 1 %");
  app.add_option("--height", a.height,
                 "of the network's input; 0: the multiple of 32 nearest to the frames'");
  app.add_option("--width", a.width, "of the network's input; 0: the multiple of 32 nearest to the frames'");
  app.add_option("--threads", a.threads, "of computation; 0: all");
  app.add_option("--device", a.device, "auto or cpu");
  app.add_flag("--json", a.json, "results as one line of JSON on stdout");
}

// Two images as a source of one item with two frames.
class PairSource final : public ClipSource {
 public:
  PairSource(const std::string& first, const std::string& second)
      : name_(fs::path(first).stem().string()), frames_{read_image(first), read_image(second)} {
    if (frames_[0].size() != frames_[1].size()) {
      fail(ErrorKind::data, {second, fmt::format("{}x{} as {}", frames_[0].width, frames_[0].height, first),
                             fmt::format("{}x{}", frames_[1].width, frames_[1].height), ""});
    }
  }
  int64_t size() const override { return 1; }
  std::string name(int64_t) const override { return name_; }
  int64_t length(int64_t) const override { return 2; }
  void read(const ClipRange& range, Clip& clip) const override {
    clip.truth.clear();
    clip.frames.assign(frames_.begin() + std::min<int64_t>(range.first, 2),
                       frames_.begin() + std::min<int64_t>(range.first + range.count, 2));
    pad_clip(range, clip);
  }

 private:
  std::string name_;
  std::vector<Image> frames_;
};

class FlowProgram {
 public:
  explicit FlowProgram(const Arguments& a)
      : a_(a),
        device_(make_device(a.device)),
        weights_(resolve_weights(a.weights)),
        source_(a.data.size() == 2 ? std::make_shared<PairSource>(a.data[0], a.data[1])
                                   : open_source({.spec = a.data[0],
                                                  .data_root = a.data_root,
                                                  .skip_missing = a.skip_missing,
                                                  .min_frames = 2,
                                                  .frame_size = {},
                                                  .warn = [](const std::string& w) { log_warning(w); }})) {
    frames_ = net_of_weights(weights_).frames;
    if (a.out.empty() && a.truth.empty() && !source_->has_truth()) {
      fail(ErrorKind::usage,
           {"--out", "a folder", "nothing", "without it only the error against --truth is printed"});
    }
  }

  int run() {
    if (!a_.truth.empty() && !fs::is_directory(a_.truth) && (source_->size() > 1 || source_->length(0) > 2)) {
      fail(ErrorKind::usage,
           {"--truth", "a folder of flow_%05d.flo for more than one pair of frames", a_.truth, ""});
    }
    catch_signals();
    for (int64_t item = 0; item < source_->size() && !stop_requested(); ++item) {
      try {
        run_item(item);
      } catch (const Error& e) {
        if (e.kind() != ErrorKind::data || source_->size() == 1) throw;
        log_error(e.what());  // one broken file does not lose the others
        ++failed_;
      }
    }
    report();
    if (stop_requested()) {
      log_warning("stopped by a signal; what is written is whole, the same command makes it all");
      return kExitInterrupted;
    }
    return failed_ ? static_cast<int>(ErrorKind::data) : 0;
  }

 private:
  // Windows of T frames share one frame; the last is filled up by repeating its last frame.
  void run_item(int64_t item) {
    const int64_t length = source_->length(item);
    ProgressBar bar(log(), {.title = source_->name(item), .unit = "pair", .total = length - 1});
    Clip clip;
    for (int64_t first = 0; first + 1 < length && !stop_requested(); first += a_.every * (frames_ - 1)) {
      source_->read({item, first, frames_, source_->has_truth()}, clip);
      const std::vector<Flow> flows = estimator(clip.frames.front().size()).run(clip.frames);
      for (int64_t k = 0; k < frames_ - 1 && first + k + 1 < length; ++k) {
        const Flow* truth = clip.truth.empty() ? nullptr : &clip.truth[static_cast<size_t>(k)];
        one_flow(item, first + k + 1, flows[static_cast<size_t>(k)], clip.frames.front().size(), truth);
        bar.update(first + k + 1, "");
      }
    }
    ++items_;
  }

  FlowEstimator& estimator(Size frame) {
    Size network = nearest_network_size(frame);
    if (a_.height) network.height = a_.height;
    if (a_.width) network.width = a_.width;
    if (!estimator_ || estimator_->network() != network) {
      estimator_.reset();
      estimator_ = std::make_unique<FlowEstimator>(weights_, *device_, network);
    }
    return *estimator_;
  }

  // `number` counts pairs from 1.
  void one_flow(int64_t item, int64_t number, const Flow& native, Size frame, const Flow* known) {
    ++flows_;
    const Flow full = resize_flow(native, frame);
    if (!a_.truth.empty()) {
      const std::string file = truth_file(item, number);
      const Flow truth = read_flo(file);
      if (truth.size() != frame) {
        fail(ErrorKind::data, {file, fmt::format("{}x{} as the frames", frame.width, frame.height),
                               fmt::format("{}x{}", truth.width, truth.height), ""});
      }
      compare(full, truth);
    } else if (known) {
      compare(full, *known);
    }
    if (a_.out.empty()) return;
    const fs::path folder = fs::path(a_.out) / source_->name(item);
    make_folders(folder);
    const Flow& flow = a_.native ? native : full;
    for (const std::string& format : a_.formats) {
      const std::string file = (folder / fmt::format("flow_{:05}.{}", number, format)).string();
      if (format == "flo")
        write_flo(file, flow);
      else
        write_png(file,
                  flow_picture(flow, a_.radius > 0 ? static_cast<float>(a_.radius) : flow_radius(flow)));
    }
  }

  std::string truth_file(int64_t item, int64_t number) const {
    if (!fs::is_directory(a_.truth)) return a_.truth;
    const std::string file = fmt::format("flow_{:05}.flo", number);
    const fs::path own = fs::path(a_.truth) / source_->name(item) / file;
    return (fs::exists(own) ? own : fs::path(a_.truth) / file).string();
  }

  void compare(const Flow& flow, const Flow& truth) {
    const EndPointError e = end_point_error(flow, truth, a_.border);
    Flow none = truth;
    std::fill(none.uv.begin(), none.uv.end(), 0.f);
    error_ += e.mean * static_cast<double>(e.pixels);
    zero_error_ += end_point_error(none, truth, a_.border).mean * static_cast<double>(e.pixels);
    pixels_ += e.pixels;
  }

  void report() const {
    nlohmann::json result{{"items", items_}, {"flows", flows_}, {"failed", failed_}};
    if (pixels_ > 0) {
      result["epe"] = error_ / static_cast<double>(pixels_);
      result["zero_flow_epe"] = zero_error_ / static_cast<double>(pixels_);
    }
    if (a_.json) {
      std::cout << result.dump() << "\n";
      return;
    }
    if (!a_.out.empty())
      fmt::print("{} flows of {} {} in {}\n", flows_, items_, items_ == 1 ? "video" : "videos", a_.out);
    if (pixels_ > 0) {
      fmt::print("EPE {:.4f} px, zero flow {:.4f} px, over {} pixels\n", result["epe"].get<double>(),
                 result["zero_flow_epe"].get<double>(), pixels_);
    }
  }

  const Arguments& a_;
  std::unique_ptr<Device> device_;
  SafetensorsReader weights_;
  SourcePtr source_;
  int64_t frames_ = 2;
  std::unique_ptr<FlowEstimator> estimator_;
  int64_t items_ = 0, flows_ = 0, failed_ = 0, pixels_ = 0;
  double error_ = 0, zero_error_ = 0;
};

int run(const Arguments& a) {
  for (const std::string& format : a.formats) {
    if (format != "flo" && format != "png")
      fail(ErrorKind::usage, {"--format", "flo, png or flo,png", "'" + format + "'", ""});
  }
  if (a.every < 1) fail(ErrorKind::usage, {"--every", "1 or more", std::to_string(a.every), ""});
  if (a.border < 0) fail(ErrorKind::usage, {"--epe-border", "0 or more", std::to_string(a.border), ""});
  if (!(a.radius >= 0)) fail(ErrorKind::usage, {"--max-flow", "0 or more", std::to_string(a.radius), ""});
  if (a.height) check_network_extent("--height", a.height);
  if (a.width) check_network_extent("--width", a.width);
  if ((!a.data_root.empty() || a.skip_missing) && !is_list_spec(a.data[0])) {
    fail(ErrorKind::usage, {a.skip_missing ? "--skip-missing" : "--data-root",
                            "a list (.txt, .lst, .list or hmdb51:) in --data", "'" + a.data[0] + "'", ""});
  }
  set_threads(a.threads);
  return FlowProgram(a).run();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::Arguments arguments;
  return millrace::run_program({.name = "motionnet-flow",
                                .about = "Optical flow by a trained MotionNet.",
                                .setup = [&](CLI::App& app) { millrace::declare(app, arguments); },
                                .run = [&](CLI::App&) { return millrace::run(arguments); }},
                               argc, argv);
}
