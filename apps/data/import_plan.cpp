#include "apps/data/import_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "data/weights/text.h"

namespace millrace {
namespace {

// Names of our parameters without their scope, by net, and which tensor of the file each is.
using Sources = std::map<std::string, size_t>;

constexpr std::pair<const char*, double> kVggWidths[] = {
    {"conv1_1", 64}, {"conv2_1", 128}, {"conv3_1", 256}, {"conv4_1", 512}, {"fc7", 4096}};
constexpr std::pair<const char*, double> kMotionNetWidths[] = {
    {"conv1", 64}, {"conv2", 128}, {"conv3", 256}, {"conv4", 512}, {"conv6", 1024}};

class Planner {
 public:
  Planner(const WeightFile& file, const ImportOptions& options)
      : file_(file), o_(options), names_(known_tensors(file)) {}

  ImportPlan plan() {
    if (names_.known.empty()) {
      fail(ErrorKind::data, {path(), "tensors of VGG16 or MotionNet",
                             fmt::format("{} tensors of other names", file_.tensors().size()),
                             "millrace-data inspect shows them"});
    }
    plan_.unmatched = names_.unknown;
    plan_.kind = o_.kind ? *o_.kind : find_kind();
    assign();
    plan_.normalisation =
        o_.normalisation.value_or(names_.torchvision() ? Normalisation::torchvision : Normalisation::caffe);
    if (uses_motionnet() && plan_.normalisation != Normalisation::caffe)
      fail(ErrorKind::usage, {"--normalisation", "caffe, for MotionNet knows no other", "torchvision", ""});
    if (uses_motionnet()) make_motionnet();
    if (plan_.kind != ImportKind::motionnet) make_stream();
    match();
    return std::move(plan_);
  }

 private:
  std::string path() const { return file_.path().string(); }
  std::string where(size_t tensor) const {
    return path() + ", tensor " + in_quotes(file_.tensors()[tensor].name);
  }
  bool uses_motionnet() const {
    return plan_.kind == ImportKind::hidden || plan_.kind == ImportKind::motionnet;
  }

  ImportKind find_kind() const {
    const bool motionnet = names_.any_motionnet_only();
    if (motionnet && names_.any_vgg16_only()) return ImportKind::hidden;
    if (motionnet) return ImportKind::motionnet;
    for (const KnownTensor& known : names_.known) {
      const auto& shape = file_.tensors()[known.tensor].shape;
      if (known.vgg16 == "conv1_1.weight" && shape.size() == 4)
        return shape[1] == 3 ? ImportKind::vgg16_spatial : ImportKind::vgg16_temporal;
    }
    fail(ErrorKind::data, {path(), "conv1_1, whose input tells what its VGG16 sees", "a file without it",
                           "Say --as vgg16-spatial or --as vgg16-temporal"});
  }

  // Which of both nets each known tensor belongs to.
  void assign() {
    for (const KnownTensor& known : names_.known) {
      const bool motionnet = uses_motionnet() && !known.motionnet.empty();
      const std::string& name = motionnet ? known.motionnet : known.vgg16;
      if (name.empty() || (!motionnet && plan_.kind == ImportKind::motionnet)) {
        plan_.unmatched.push_back(known.tensor);
        continue;
      }
      const auto [place, fresh] = (motionnet ? motionnet_ : vgg16_).emplace(name, known.tensor);
      if (!fresh) {
        fail(ErrorKind::data, {where(known.tensor), "one tensor for each parameter",
                               in_quotes(file_.tensors()[place->second].name) + " for the same, " + name,
                               "Save the layers of one net alone"});
      }
    }
    std::sort(plan_.unmatched.begin(), plan_.unmatched.end());
  }

  const std::vector<int64_t>* shape_of(const Sources& sources, const std::string& name) const {
    const auto found = sources.find(name);
    return found == sources.end() ? nullptr : &file_.tensors()[found->second].shape;
  }

  // The factor of a net's widths that gives those of the file. The widest layer tells it best, but rounded:
  // its neighbours say between which numbers it lies.
  template <size_t N>
  double factor_of(const Sources& sources, const std::pair<const char*, double> (&widths)[N]) const {
    double low = 0, high = HUGE_VAL, widest = 1;
    for (const auto& [layer, full] : widths) {
      const auto* shape = shape_of(sources, layer + std::string(".weight"));
      if (shape == nullptr || shape->empty()) continue;
      const auto width = static_cast<double>(shape->front());
      if (width > 1) low = std::max(low, (width - .5) / full);
      high = std::min(high, (width + .5) / full);
      widest = width / full;
    }
    const double factor = low <= widest && widest < high ? widest : low < high ? (low + high) / 2 : widest;
    if (factor > 0 && factor <= 4) return factor;
    fail(ErrorKind::data, {path(), "layers of at most 4 times the usual width",
                           fmt::format("{} times", factor), "These are weights of another net"});
  }

  void make_motionnet() {
    const auto* conv1 = shape_of(motionnet_, "conv1.weight");
    if (conv1 == nullptr || conv1->size() != 4 || (*conv1)[1] < 6 || (*conv1)[1] % 3 != 0) {
      fail(ErrorKind::data,
           {path() + ": conv1 of MotionNet", "weights for 3 channels of each of 2 or more frames",
            conv1 == nullptr ? "none" : shape_text(*conv1), ""});
    }
    const bool tiny =
        shape_of(motionnet_, "conv5.weight") == nullptr && shape_of(motionnet_, "conv4.weight") != nullptr;
    plan_.motionnet = MotionNetOptions{
        .frames = (*conv1)[1] / 3, .channels = 1, .kind = tiny ? MotionNetKind::tiny : MotionNetKind::full};
    if (tiny) {  // whose conv4 is narrower than the other net's
      plan_.motionnet->channels = factor_of(motionnet_, {{"conv1", 64.}, {"conv2", 128.}, {"conv3", 256.}});
    } else {
      plan_.motionnet->channels = factor_of(motionnet_, kMotionNetWidths);
      plan_.motionnet->small_displacement = shape_of(motionnet_, "conv1_1.weight") != nullptr;
    }
    plan_.motionnet->smooth_conv = shape_of(motionnet_, "smooth_conv2.weight") != nullptr;
  }

  void make_stream() {
    StreamSpec spec{.kind = plan_.kind == ImportKind::vgg16_spatial    ? StreamKind::spatial
                            : plan_.kind == ImportKind::vgg16_temporal ? StreamKind::temporal
                                                                       : StreamKind::stacked};
    spec.channels = factor_of(vgg16_, kVggWidths);
    spec.input = input_of(spec.channels);
    // Frames are brought to 256x340 for crops of 224; to as much more than the crops of other sizes.
    const auto larger = [](int64_t extent, int64_t full) { return (extent * full + 112) / 224; };
    spec.resize = {larger(spec.input.height, 256), larger(spec.input.width, 340)};
    spec.classes = classes_of();
    if (plan_.motionnet) {
      spec.motionnet = *plan_.motionnet;
      spec.flows = spec.motionnet.frames - 1;
    } else if (const auto* conv = shape_of(vgg16_, "conv1_1.weight"); conv != nullptr && conv->size() == 4) {
      if (spec.kind == StreamKind::temporal) spec.flows = flows_of((*conv)[1]);
    }
    if (spec.kind == StreamKind::spatial && plan_.normalisation == Normalisation::torchvision)
      spec.mean = {255 * .406, 255 * .456, 255 * .485};
    plan_.stream = spec;
  }

  int64_t flows_of(int64_t channels) const {
    if (channels >= 2 && channels % 2 == 0 && channels <= 512) return channels / 2;
    fail(ErrorKind::data, {where(vgg16_.at("conv1_1.weight")), "3 input channels, or 2 for each flow",
                           fmt::format("{} input channels", channels), ""});
  }

  // fc6 takes 512 (H/32) (W/32) numbers, at a factor of 1.
  Size input_of(double channels) const {
    if (o_.input) return *o_.input;
    const auto* fc6 = shape_of(vgg16_, "fc6.weight");
    if (fc6 == nullptr) return {224, 224};
    constexpr int64_t kMost = 256;
    if (fc6->size() == 4 && (*fc6)[2] <= kMost && (*fc6)[3] <= kMost)
      return {32 * (*fc6)[2], 32 * (*fc6)[3]};  // a convolution as large as what is left of the image
    const int64_t width = std::max<int64_t>(1, std::llround(512 * channels));
    const int64_t inputs = fc6->size() == 2 ? (*fc6)[1] : 0;
    const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(inputs / width))));
    if (side > 0 && inputs == width * side * side) return {32 * side, 32 * side};
    fail(ErrorKind::data,
         {where(vgg16_.at("fc6.weight")),
          fmt::format("{} inputs for each 32x32 pixels of a square image", width), shape_text(*fc6),
          "Say --input HEIGHTxWIDTH, in pixels, when the images were not square"});
  }

  std::vector<std::string> classes_of() const {
    const auto* fc8 = shape_of(vgg16_, "fc8.weight");
    if (o_.classes) {
      const auto named = static_cast<int64_t>(o_.classes->names.size());
      if (fc8 == nullptr || fc8->empty() || fc8->front() == named) return o_.classes->names;
      fail(ErrorKind::data,
           {where(vgg16_.at("fc8.weight")), fmt::format("{} classes, as {} names", named, o_.classes_file),
            fmt::format("weights of {} classes", fc8->front()),
            "Give the list of classes that the weights were trained with"});
    }
    // A file without fc8 has no classes; a stream has one at least.
    const int64_t count = fc8 == nullptr || fc8->empty() ? 1 : fc8->front();
    if (count < 1 || count > 1'000'000)
      fail(ErrorKind::data, {where(vgg16_.at("fc8.weight")), "a class or more", std::to_string(count), ""});
    std::vector<std::string> names;
    for (int64_t label = 0; label < count; ++label) names.push_back(std::to_string(label));
    return names;
  }

  // The network's own parameters, so that no shape stands here a second time.
  void match() {
    Graph graph;
    ParamStore params;
    if (plan_.stream) {
      stream(graph, params, graph.input("clip", clip_spec(*plan_.stream, 1)), *plan_.stream);
    } else {
      const int64_t channels = 3 * plan_.motionnet->frames;
      motionnet(graph, params, graph.input("images", {1, 64, 64, channels}), *plan_.motionnet);
    }
    for (const std::string& name : params.names()) {
      const size_t dot = name.find('.');
      Sources& sources = name.starts_with("motionnet.") ? motionnet_ : vgg16_;
      ImportedTensor tensor{.name = name, .shape = params.file_shape(name)};
      if (const auto found = sources.find(name.substr(dot + 1)); found != sources.end()) {
        check_shape(tensor, found->second);
        tensor.source = found->second;
        sources.erase(found);
      }
      plan_.tensors.push_back(std::move(tensor));
    }
    for (const Sources* rest : {&vgg16_, &motionnet_})
      for (const auto& [name, tensor] : *rest) plan_.unmatched.push_back(tensor);
    std::sort(plan_.unmatched.begin(), plan_.unmatched.end());
  }

  void check_shape(const ImportedTensor& ours, size_t source) const {
    const WeightTensor& tensor = file_.tensors()[source];
    if (!(tensor.dtype.starts_with('F') || tensor.dtype == "BF16"))
      fail(ErrorKind::data, {where(source), "real numbers for " + ours.name, tensor.dtype, ""});
    // Fully connected layers are stored as convolutions by some: the same numbers in the same order.
    std::vector<int64_t> shape = tensor.shape;
    if (ours.shape.size() == 2 && shape.size() == 4) shape = {shape[0], shape[1] * shape[2] * shape[3]};
    if (shape == ours.shape) return;
    fail(ErrorKind::data, {where(source), fmt::format("shape {} for {}", shape_text(ours.shape), ours.name),
                           shape_text(tensor.shape), reason(ours, shape)});
  }

  std::string reason(const ImportedTensor& ours, const std::vector<int64_t>& shape) const {
    const bool vgg16 = plan_.stream && !ours.name.starts_with("motionnet.");
    if (vgg16 && ours.name.ends_with(".fc6.weight") && shape.size() == 2 && shape[0] == ours.shape[0]) {
      const Size& input = plan_.stream->input;
      return fmt::format(
          "fc6 takes 512 (H/32) (W/32) numbers, and so belongs to one size of image: here {}x{}, "
          "--input says another",
          input.height, input.width);
    }
    if (vgg16 && ours.name.ends_with(".conv1_1.weight") && shape.size() == 4 && shape[0] == ours.shape[0]) {
      return fmt::format(
          "{} has {} input channels: 3 for --as vgg16-spatial, 2 for each flow of vgg16-temporal, 2 "
          "for each flow of MotionNet in hidden",
          name_of(plan_.kind), ours.shape[1]);
    }
    return "These are weights of a net with other widths or kernels; as some of them fit, the file may be "
           "mixed up";
  }

  const WeightFile& file_;
  const ImportOptions& o_;
  const KnownTensors names_;
  ImportPlan plan_;
  Sources vgg16_, motionnet_;
};

}  // namespace

std::string name_of(ImportKind kind) {
  switch (kind) {
    case ImportKind::vgg16_spatial:
      return "vgg16-spatial";
    case ImportKind::vgg16_temporal:
      return "vgg16-temporal";
    case ImportKind::hidden:
      return "hidden";
    case ImportKind::motionnet:
      break;
  }
  return "motionnet";
}

bool ImportPlan::partial() const {
  return std::any_of(tensors.begin(), tensors.end(), [](const ImportedTensor& t) { return !t.source; });
}

ImportPlan plan_import(const WeightFile& file, const ImportOptions& options) {
  return Planner(file, options).plan();
}

}  // namespace millrace
