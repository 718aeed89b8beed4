#include "apps/data/check_clip.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "apps/support/program.h"
#include "core/error.h"
#include "data/flow_files.h"
#include "data/video.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

std::string size_text(Size size) { return fmt::format("{}x{}", size.width, size.height); }

class ClipCheck {
 public:
  explicit ClipCheck(const ClipToCheck& clip) : clip_(clip) {}

  ClipReport run() {
    clip_.item.folder ? folder() : video();
    if (!stop_requested()) lengths();
    return std::move(report_);
  }

 private:
  void add(const fs::path& path, std::string reason) {
    report_.problems.push_back({path.string(), std::move(reason)});
  }

  template <class Work> bool tried(const Work& work) {
    try {
      work();
      return true;
    } catch (const Error& broken) {
      report_.problems.push_back(problem_of(broken.what()));
      return false;
    }
  }

  void video() {
    decoded_ = tried([&] {
      const VideoIndex index = index_video(clip_.item.path.string(), [](int64_t, Image&) {});
      report_.frames = index.frames;
      report_.size = index.size;
      report_.rate = index.rate;
      for (const std::string& warning : index.warnings) add(clip_.item.path, warning);
    });
  }

  void folder() {
    const FrameFolder& folder = *clip_.item.folder;
    report_.frames = static_cast<int64_t>(folder.frames.size());
    decoded_ = true;
    for (size_t k = 0; k < folder.frames.size() && !stop_requested(); ++k) {
      frame(folder.frames[k]);
      if (!folder.truth[k].empty()) flow(folder.truth[k]);
    }
    flows_without_frames(folder);
  }

  void frame(const fs::path& path) {
    tried([&] {
      const Size size = read_image(path.string()).size();
      if (report_.size == Size{}) {
        report_.size = size;
        first_ = path.filename().string();
      }
      if (size != report_.size)
        add(path, fmt::format("is {}, {} is {}", size_text(size), first_, size_text(report_.size)));
    });
  }

  void flow(const fs::path& path) {
    tried([&] {
      const Flow flow = read_flow(path.string());
      ++report_.flows;
      if (report_.size != Size{} && flow.size() != report_.size)
        add(path, fmt::format("is {}, the frames are {}", size_text(flow.size()), size_text(report_.size)));
      int64_t not_finite = 0;
      for (size_t k = 0; k < flow.uv.size(); k += 2) {
        const float* uv = &flow.uv[k];
        not_finite += !std::isfinite(uv[0]) || !std::isfinite(uv[1]);
        if (is_known(uv))
          report_.max_flow = std::max(report_.max_flow, std::hypot(double{uv[0]}, double{uv[1]}));
      }
      if (not_finite > 0)
        add(path, fmt::format("{} of {} pixels are NaN or infinite", not_finite, flow.uv.size() / 2));
    });
  }

  // flow<number>.flo whose number no frame has.
  void flows_without_frames(const FrameFolder& folder) {
    const std::set<fs::path> known(folder.truth.begin(), folder.truth.end());
    std::set<fs::path> alone;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(clip_.item.path, error)) {
      const std::string name = entry.path().filename().string();
      if (entry.path().extension() != ".flo" || known.count(entry.path())) continue;
      if (name.starts_with("flow") && name.size() > 8 &&
          name.find_first_not_of("0123456789", 4) == name.size() - 4)
        alone.insert(entry.path());
    }
    for (const fs::path& path : alone) add(path, "no frame has this number, so it is not used");
  }

  void lengths() {
    if (!decoded_) return;
    if (report_.frames < clip_.min_frames)
      add(clip_.item.path, fmt::format("has {} frame{}, {} are needed", report_.frames,
                                       report_.frames == 1 ? "" : "s", clip_.min_frames));
    if (clip_.listed_frames && *clip_.listed_frames != report_.frames)
      add(clip_.item.path,
          fmt::format("has {} frames, the list says {}", report_.frames, *clip_.listed_frames));
  }

  const ClipToCheck& clip_;
  ClipReport report_;
  std::string first_;
  bool decoded_ = false;
};

}  // namespace

Problem problem_of(const std::string& message) {
  const size_t end = message.find("] ");
  if (!message.starts_with('[') || end == std::string::npos) return {"", message};
  return {message.substr(1, end - 1), message.substr(end + 2)};
}

ClipReport check_clip(const ClipToCheck& clip) { return ClipCheck(clip).run(); }

}  // namespace millrace
