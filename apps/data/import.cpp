#include "apps/data/import.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/data/import_plan.h"
#include "apps/data/import_values.h"
#include "apps/motionnet/net_file.h"
#include "core/error.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "data/synthetic.h"
#include "data/weights/text.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

// A training's state of the optimiser has hundreds of tensors.
constexpr size_t kMostListed = 20;

template <class T, size_t N> std::optional<T> choice(const std::string& flag, const std::string& given,
                                                     const std::pair<const char*, T> (&names)[N]) {
  std::string known = "auto";
  for (const auto& [name, value] : names) {
    if (given == name) return value;
    known += std::string(", ") + name;
  }
  if (given == "auto") return {};
  fail(ErrorKind::usage, {flag, known, in_quotes(given), ""});
}

ImportOptions options_of(const ImportArguments& a) {
  ImportOptions options;
  options.kind = choice<ImportKind>("--as", a.as,
                                    {{"vgg16-spatial", ImportKind::vgg16_spatial},
                                     {"vgg16-temporal", ImportKind::vgg16_temporal},
                                     {"hidden", ImportKind::hidden},
                                     {"motionnet", ImportKind::motionnet}});
  options.normalisation =
      choice<Normalisation>("--normalisation", a.normalisation,
                            {{"caffe", Normalisation::caffe}, {"torchvision", Normalisation::torchvision}});
  if (!a.input.empty()) options.input = parse_size(a.input, "--input", 32);
  if (!a.classes.empty()) {
    options.classes = read_class_names(a.classes);
    options.classes_file = a.classes;
  }
  return options;
}

class Import {
 public:
  explicit Import(const ImportArguments& a) : a_(a) {
    check_out();
    file_ = open_weights(a.file);
    plan_ = plan_import(*file_, options_of(a));
  }

  int run() {
    ImportValues values(*file_, plan_);
    SafetensorsContent content{.tensors = {}, .metadata = metadata()};
    std::map<std::string, const ImportedTensor*> by_name;
    for (const ImportedTensor& tensor : plan_.tensors) {
      if (!tensor.source) continue;
      content.tensors.push_back({.name = tensor.name, .dtype = "F32", .shape = tensor.shape});
      by_name[tensor.name] = &tensor;
    }
    write_safetensors(a_.out, content,
                      [&](const TensorEntry& entry, uint64_t offset, std::span<std::byte> chunk) {
                        const size_t count = chunk.size() / sizeof(float);
                        values.read(*by_name.at(entry.name), static_cast<int64_t>(offset / sizeof(float)),
                                    {reinterpret_cast<float*>(chunk.data()), count});
                      });
    const ordered_json report = report_of(values);
    a_.json ? print_json(report) : print(report);
    return 0;
  }

 private:
  // Before anything is read: a large file takes a while.
  void check_out() const {
    std::error_code error;
    if (fs::is_directory(a_.out, error))
      fail(ErrorKind::usage, {"--out", "a name for a file", a_.out + ", which is a folder",
                              a_.out + "/weights.safetensors, for instance"});
    if (fs::equivalent(a_.file, a_.out, error))
      fail(ErrorKind::usage, {"--out", "another file than the one to import", a_.out, ""});
  }

  std::string normalisation() const {
    return plan_.normalisation == Normalisation::caffe ? "caffe" : "torchvision";
  }

  int64_t matched() const {
    return std::count_if(plan_.tensors.begin(), plan_.tensors.end(),
                         [](const auto& t) { return t.source.has_value(); });
  }

  std::string provenance() const {
    const ordered_json json{{"imported", a_.file.empty() ? "" : fs::path(a_.file).filename().string()},
                            {"bytes", file_size_of(file_->path())},
                            {"format", file_->format()},
                            {"as", name_of(plan_.kind)},
                            {"normalisation", normalisation()},
                            {"parameters", matched()},
                            {"of", plan_.tensors.size()}};
    return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  }

  std::map<std::string, std::string> metadata() {
    std::map<std::string, std::string> metadata;
    if (plan_.stream) {
      plan_.stream->provenance = provenance();
      metadata = stream_metadata(*plan_.stream);
    }
    if (plan_.motionnet) metadata.merge(net_metadata(*plan_.motionnet));
    if (!plan_.stream) metadata["provenance"] = provenance();
    return metadata;
  }

  ordered_json report_of(const ImportValues& values) const {
    ordered_json json{{"file", a_.file},
                      {"out", a_.out},
                      {"format", file_->format()},
                      {"as", name_of(plan_.kind)},
                      {"normalisation", normalisation()},
                      {"partial", plan_.partial()}};
    if (plan_.stream) {
      json["input"] = {plan_.stream->input.height, plan_.stream->input.width};
      json["channels"] = plan_.stream->channels;
      json["classes"] = plan_.stream->classes.size();
    }
    for (const char* list : {"matched", "missing", "unmatched"}) json[list] = ordered_json::array();
    for (const ImportedTensor& tensor : plan_.tensors) {
      if (!tensor.source) {
        json["missing"].push_back({{"name", tensor.name}, {"shape", tensor.shape}});
        continue;
      }
      const ImportValues::Norms& norms = values.norms(tensor);
      const WeightTensor& source = file_->tensors()[*tensor.source];
      const auto count = static_cast<double>(std::max<int64_t>(1, source.count()));
      json["matched"].push_back({{"from", source.name},
                                 {"to", tensor.name},
                                 {"dtype", source.dtype},
                                 {"shape", tensor.shape},
                                 {"norm", std::sqrt(norms.squares)},
                                 {"mean_abs", norms.absolutes / count}});
    }
    for (const size_t i : plan_.unmatched)
      json["unmatched"].push_back({{"name", file_->tensors()[i].name}, {"shape", file_->tensors()[i].shape}});
    return json;
  }

  static void print_json(const ordered_json& report) {
    std::cout << report.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << "\n";
  }

  static std::string shown(const ordered_json& name) {
    const std::string quoted = in_quotes(name.get_ref<const std::string&>());
    return quoted.substr(1, quoted.size() - 2);
  }

  static void print_rest(const ordered_json& list, const char* title) {
    if (list.empty()) return;
    fmt::print("\n{}\n", title);
    for (size_t i = 0; i < std::min(kMostListed, list.size()); ++i)
      fmt::print("  {}  {}\n", shown(list[i]["name"]),
                 shape_text(list[i]["shape"].get<std::vector<int64_t>>()));
    if (list.size() > kMostListed) fmt::print("  and {} more; --json lists all\n", list.size() - kMostListed);
  }

  void print(const ordered_json& report) const {
    size_t from = 4, to = 4;
    for (const auto& t : report["matched"]) {
      from = std::max(from, shown(t["from"]).size());
      to = std::max(to, t["to"].get_ref<const std::string&>().size());
    }
    fmt::print("{:<{}}  {:<{}}  {:<20} {:>10} {:>10}\n", "file", from, "ours", to, "shape", "L2 norm",
               "mean |x|");
    for (const auto& t : report["matched"]) {
      fmt::print("{:<{}}  {:<{}}  {:<20} {:>10.4g} {:>10.4g}\n", shown(t["from"]), from,
                 t["to"].get<std::string>(), to, shape_text(t["shape"].get<std::vector<int64_t>>()),
                 t["norm"].get<double>(), t["mean_abs"].get<double>());
    }
    print_rest(report["missing"], "not in the file, so not in ours (a partial checkpoint, for --init):");
    print_rest(report["unmatched"], "in the file, and left out:");
    fmt::print("\n{}: {} of {} parameters as {}, {} of {} tensors of {} used{}\n", a_.out, matched(),
               plan_.tensors.size(), name_of(plan_.kind), matched(), file_->tensors().size(), file_->format(),
               plan_.partial() ? "; PARTIAL" : "");
    if (plan_.stream) {
      const StreamSpec& s = *plan_.stream;
      fmt::print("input {}x{}, widths x {:.4g}, {}\n", s.input.height, s.input.width, s.channels,
                 classes_text());
    }
    print_normalisation();
  }

  std::string classes_text() const {
    const size_t count = plan_.stream->classes.size();
    if (!a_.classes.empty()) return fmt::format("{} classes, named by {}", count, a_.classes);
    const auto is_fc8 = [](const ImportedTensor& t) { return t.name.ends_with(".fc8.weight"); };
    if (!std::find_if(plan_.tensors.begin(), plan_.tensors.end(), is_fc8)->source) return "no classes";
    return fmt::format("{} classes without names (--classes FILE names them)", count);
  }

  void print_normalisation() const {
    if (plan_.normalisation == Normalisation::caffe || !plan_.stream) return;
    fmt::print(
        "torchvision's normalisation is part of conv1_1 now: {}\n",
        plan_.kind == ImportKind::vgg16_spatial
            ? "it takes B, G, R from 0 to 255 less 103.53, 116.28, 123.675, and gives what it gave"
            : "it takes flows from 0 to 255 less 128; at the images' border half a grey level differs");
  }

  const ImportArguments& a_;
  WeightFilePtr file_;
  ImportPlan plan_;
};

}  // namespace

void declare_import(CLI::App& app, ImportArguments& a) {
  app.footer(
      "examples:\n"
      "  millrace-data import cuhk_action_spatial_vgg_16_split1.caffemodel --out spatial.safetensors\n"
      "                       --classes classInd.txt\n"
      "  millrace-data import vgg16-397923af.pth --out imagenet.safetensors\n"
      "  millrace-data import ucf101_split1_vgg16_init.caffemodel --as hidden --out hidden.safetensors\n"
      "Nothing in a .pth is run. What did not match is listed; a file with a part of the layers gives a "
      "partial\n"
      "checkpoint, for twostream-train --init.\n"
      "exit codes: 0 done, 2 usage, 3 the file is broken, or its weights fit no network");
  app.add_option("file", a.file, "a .caffemodel, .pth, .pt or .safetensors")->required();
  app.add_option("--out", a.out, "the checkpoint to write, a .safetensors; whole or not at all")->required();
  app.add_option("--as", a.as,
                 "auto, vgg16-spatial, vgg16-temporal, hidden (MotionNet and VGG16) or motionnet");
  app.add_option("--classes", a.classes, "names of the classes, one a line, as classInd.txt or alone");
  app.add_option(
      "--normalisation", a.normalisation,
      "how images became the network's input: auto (by the names of layers),\n"
      "caffe (B, G, R less 104, 117, 123) or torchvision (R, G, B, ImageNet's mean and deviation)");
  app.add_option("--input", a.input,
                 "HEIGHTxWIDTH of the network in pixels, where fc6 does not tell: 224x320");
  app.add_flag("--json", a.json, "what matched and what did not, as one line of JSON on stdout");
}

int run_import(const ImportArguments& arguments) { return Import(arguments).run(); }

}  // namespace millrace
