#include "apps/flow/outputs.h"

#include <fmt/format.h>

#include <regex>

#include "core/files.h"
#include "data/flow_files.h"
#include "data/picture.h"
#include "data/video_writer.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class FloOutput final : public FlowOutput {
 public:
  explicit FloOutput(fs::path folder) : folder_(std::move(folder)) {}
  void add(const FlowOfPair& pair) override {
    write_flo((folder_ / fmt::format("flow_{:05}.flo", pair.number)).string(), pair.flow);
  }

 private:
  fs::path folder_;
};

class KittiOutput final : public FlowOutput {
 public:
  explicit KittiOutput(fs::path folder) : folder_(std::move(folder)) {}
  void add(const FlowOfPair& pair) override {
    write_kitti_png((folder_ / fmt::format("kitti_{:05}.png", pair.number)).string(), pair.flow);
  }

 private:
  fs::path folder_;
};

class JpegOutput final : public FlowOutput {
 public:
  JpegOutput(fs::path folder, FlowJpegInfo info) : folder_(std::move(folder)), info_(std::move(info)) {}
  void add(const FlowOfPair& pair) override {
    if (info_.flows++ == 0) info_.size = pair.flow.size();
    write_flow_jpegs(folder_, pair.number, pair.flow, info_);
  }
  void finish() override { write_file_atomically(folder_ / kFlowJsonFile, flow_json(info_)); }

 private:
  fs::path folder_;
  FlowJpegInfo info_;
};

// The flow in colours, where it is wanted beside its frame.
Image picture_of(const FlowOfPair& pair, float radius, bool side_by_side_wanted) {
  Image picture = flow_picture(pair.flow, radius);
  if (!side_by_side_wanted) return picture;
  const Size size = picture.size();
  return side_by_side({pair.frame.size() == size ? pair.frame : resize_area(pair.frame, size), picture});
}

class PictureOutput final : public FlowOutput {
 public:
  PictureOutput(fs::path folder, const FlowSettings& settings)
      : folder_(std::move(folder)), settings_(settings) {}
  void add(const FlowOfPair& pair) override {
    const float radius =
        settings_.max_flow > 0 ? static_cast<float>(settings_.max_flow) : flow_radius(pair.flow);
    write_png((folder_ / fmt::format("flow_{:05}.png", pair.number)).string(),
              picture_of(pair, radius, settings_.side_by_side));
  }

 private:
  fs::path folder_;
  const FlowSettings& settings_;
};

class VideoOutput final : public FlowOutput {
 public:
  VideoOutput(const fs::path& file, float radius, const FlowSettings& settings)
      : file_(file.string()), radius_(radius), settings_(settings) {}
  void add(const FlowOfPair& pair) override {
    const Image picture = picture_of(pair, radius_, settings_.side_by_side);
    if (!writer_) {
      writer_ = std::make_unique<VideoWriter>(
          VideoWriterOptions{.path = file_, .size = picture.size(), .rate = settings_.fps});
    }
    writer_->add(picture);
  }
  void finish() override {
    if (writer_) writer_->finish();
  }

 private:
  std::string file_;
  float radius_;
  const FlowSettings& settings_;
  std::unique_ptr<VideoWriter> writer_;
};

}  // namespace

std::vector<std::unique_ptr<FlowOutput>> make_outputs(const FlowSettings& s, const OutputOptions& o) {
  std::vector<std::unique_ptr<FlowOutput>> outputs;
  for (const std::string& format : s.formats) {
    if (format == "flo") {
      outputs.push_back(std::make_unique<FloOutput>(o.folder));
    } else if (format == "kitti") {
      outputs.push_back(std::make_unique<KittiOutput>(o.folder));
    } else if (format == "png") {
      outputs.push_back(std::make_unique<PictureOutput>(o.folder, s));
    } else if (format == "jpg") {
      FlowJpegInfo info{.mapping = s.mapping(), .quality = static_cast<int>(s.quality), .source = o.source};
      outputs.push_back(std::make_unique<JpegOutput>(o.folder, std::move(info)));
    } else {
      outputs.push_back(std::make_unique<VideoOutput>(o.folder / ("flow." + format), o.video_radius, s));
    }
  }
  return outputs;
}

bool is_output_name(const std::string& name) {
  static const std::regex kNames(
      R"(flow_\d{5,}\.(flo|png)|kitti_\d{5,}\.png|flow_[xy]_\d{5,}\.jpg|flow\.(json|mp4|mkv|avi))");
  return std::regex_match(name, kNames);
}

}  // namespace millrace
