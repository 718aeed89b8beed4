#include "apps/actions/init.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "apps/motionnet/net_file.h"
#include "core/run_dir.h"
#include "nets/vgg16.h"

namespace millrace {
namespace {

const std::string kMotionNet = "motionnet", kTemporal = "temporal", kSpatial = "spatial";
constexpr const char* kAllParts = "motionnet, temporal or spatial";

bool is_part(const std::string& name) { return name == kMotionNet || name == kTemporal || name == kSpatial; }

using File = std::shared_ptr<SafetensorsReader>;

bool has_part(const SafetensorsReader& file, const std::string& part) {
  return std::any_of(file.tensors().begin(), file.tensors().end(),
                     [&](const TensorEntry& e) { return e.name.starts_with(part + "."); });
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// "conv1_1, fc6.bias": layers, where both weight and bias are among the names.
std::string layers_text(const std::vector<std::string>& names) {
  const std::set<std::string> all(names.begin(), names.end());
  std::vector<std::string> words;
  for (const std::string& name : names) {
    const std::string layer = name.substr(0, name.rfind('.'));
    const bool both = all.count(layer + ".weight") > 0 && all.count(layer + ".bias") > 0;
    const std::string full = both ? layer : name, word = full.substr(full.find('.') + 1);
    if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
  }
  return joined(words);
}

std::string counted_tensors(size_t count) { return fmt::format("{} tensor{}", count, count == 1 ? "" : "s"); }

// What the file is to give to one part.
struct Source {
  std::string part;
  std::string from;  // the part of the file: spatial for a temporal one across modalities
  File file;
  bool crosses() const { return part != from; }
  std::string tensor(const std::string& parameter) const { return from + parameter.substr(part.size()); }
};

// The file's own description of that part, where it has one.
std::optional<StreamSpec> spec_in(const SafetensorsReader& file, const std::string& part) {
  const auto& metadata = file.metadata();
  const auto describes = [](const auto& entry) { return entry.first.starts_with("stream."); };
  if (std::none_of(metadata.begin(), metadata.end(), describes)) return {};
  for (const StreamSpec& spec : streams_of(file)) {
    if (scope_of(spec) == part) return spec;
  }
  return {};
}

// Why the last layer of the file is of no use; empty where it is.
std::string other_classes(const Source& s, const StreamSpec& spec) {
  const std::string weight = s.from + ".fc8.weight";
  const auto ours = static_cast<int64_t>(spec.classes.size());
  if (!s.file->has(weight)) return {};
  const std::vector<int64_t>& shape = s.file->entry(weight).shape;
  if (!shape.empty() && shape[0] != ours) return fmt::format("{} classes, not {}", shape[0], ours);
  const std::optional<StreamSpec> theirs = spec_in(*s.file, s.from);
  if (!theirs || theirs->classes == spec.classes) return {};
  std::vector<std::string> a = theirs->classes, b = spec.classes;
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  if (a == b) return "the same classes in another order";
  std::vector<std::string> only;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(only));
  return fmt::format("other classes, such as '{}'", only.front());
}

// Fills one part's sources, or refuses the file.
class PartLoader {
 public:
  PartLoader(const Source& source, const StreamSpec& spec, const ParamStore& params)
      : s_(source), spec_(spec), params_(params), file_(*source.file) {}

  void add_to(std::map<std::string, ParamStore::Values>& sources) {
    if (s_.part == kMotionNet) check_same_layers(file_, spec_.motionnet);
    const std::string classes = s_.part == kMotionNet ? "" : other_classes(s_, spec_);
    for (const std::string& name : params_.names()) {
      if (!name.starts_with(s_.part + ".")) continue;
      if (!classes.empty() && name.starts_with(s_.part + ".fc8."))
        fresh_.push_back(name);
      else
        compare(name);
    }
    if (!classes.empty()) notes_.push_back("its fc8 is of " + classes + ": fc8 starts anew");
    leave_out_last_layers();
    if (!missing_.empty() || !misshapen_.empty()) refuse();
    for (const std::string& name : taken_) {
      check_numbers(name);
      sources[name] = is_colours(name) ? averaged(name) : as_it_is(name);
    }
    note_what_sees_otherwise();
  }

  std::string sentence() const {
    std::string text = fmt::format("{} from {}: {}, {}", s_.part, file_.path().string(),
                                   counted_tensors(taken_.size()), layers_text(taken_));
    for (const std::string& note : notes_) text += "; " + note;
    const std::vector<std::string> extra = unused();
    if (!extra.empty()) text += "; not used of the file: " + layers_text(extra);
    return text;
  }

 private:
  bool is_colours(const std::string& name) const {
    return s_.crosses() && name == s_.part + ".conv1_1.weight";
  }

  std::vector<int64_t> expected_shape(const std::string& name) const {
    std::vector<int64_t> shape = params_.file_shape(name);
    if (is_colours(name)) shape[1] = 3;
    return shape;
  }

  void compare(const std::string& name) {
    const std::string tensor = s_.tensor(name);
    if (!file_.has(tensor)) {
      missing_.push_back(name);
      return;
    }
    const TensorEntry& entry = file_.entry(tensor);
    const bool real =
        entry.dtype == "F32" || entry.dtype == "F64" || entry.dtype == "F16" || entry.dtype == "BF16";
    if (!real)
      misshapen_.push_back(fmt::format("{} of dtype {}", tensor, entry.dtype));
    else if (entry.shape == expected_shape(name))
      taken_.push_back(name);
    else
      misshapen_.push_back(fmt::format("{} of shape ({}), not ({}){}", tensor, fmt::join(entry.shape, ","),
                                       fmt::join(expected_shape(name), ","), reason(name, entry.shape)));
  }

  // What a shape says of the network that the tensor is from.
  std::string reason(const std::string& name, const std::vector<int64_t>& got) const {
    const std::vector<int64_t> want = params_.file_shape(name);
    if (name.ends_with(".fc6.weight") && got.size() == 2 && got[0] == want[0]) {
      const Size& input = spec_.input;
      const int64_t places = input.height / kVgg16Multiple * (input.width / kVgg16Multiple);
      const int64_t channels = want[1] / places, theirs = got[1] / channels;
      const auto side = std::llround(std::sqrt(static_cast<double>(theirs)));
      if (theirs * channels == got[1] && side * side == theirs)
        return fmt::format(" (it is for an input of {0}x{0}, this network's is {1}x{2})",
                           side * kVgg16Multiple, input.height, input.width);
    }
    if (got.size() != 4 || got[0] != want[0]) return {};
    if (name == kTemporal + ".conv1_1.weight" && got[1] % 2 == 0)
      return fmt::format(" (it is for {} flows)", got[1] / 2);
    if (name == kMotionNet + ".conv1.weight" && got[1] % 3 == 0)
      return fmt::format(" (it is for {} frames)", got[1] / 3);
    return {};
  }

  // fc8, fc7 and fc8, or all of fc6 to fc8 may be missing.
  void leave_out_last_layers() {
    const auto layer_missing = [&](const char* layer) {
      const auto count = std::count_if(missing_.begin(), missing_.end(), [&](const std::string& name) {
        return name.starts_with(s_.part + "." + layer + ".");
      });
      return count == 2;
    };
    if (s_.part == kMotionNet) return;
    std::vector<std::string> last;
    for (const char* layer : {"fc8", "fc7", "fc6"}) {
      if (!layer_missing(layer)) break;
      last.insert(last.begin(), layer);
    }
    if (last.empty()) return;
    std::erase_if(missing_, [&](const std::string& name) {
      return std::any_of(last.begin(), last.end(), [&](const std::string& layer) {
        return name.starts_with(s_.part + "." + layer + ".");
      });
    });
    notes_.push_back(joined(last) + " not in the file: started anew");
  }

  [[noreturn]] void refuse() const {
    std::vector<std::string> got;
    got.push_back(counted_tensors(taken_.size()) + " that fit" +
                  (taken_.empty() ? "" : " (" + layers_text(taken_) + ")"));
    if (!missing_.empty()) got.push_back("without " + layers_text(missing_));
    constexpr size_t kShown = 6;
    for (size_t k = 0; k < misshapen_.size() && k < kShown; ++k) got.push_back(misshapen_[k]);
    if (misshapen_.size() > kShown) got.push_back(fmt::format("{} more such", misshapen_.size() - kShown));
    const std::vector<std::string> extra = unused();
    if (!extra.empty()) got.push_back("besides " + layers_text(extra) + ", which this network does not have");
    fail(ErrorKind::data, {file_.path().string() + ": " + s_.from, "the weights of this network's " + s_.part,
                           joined(got), "is it of another --channels, input size or number of flows?"});
  }

  std::vector<std::string> unused() const {
    std::set<std::string> used;
    for (const std::string& name : params_.names()) {
      if (name.starts_with(s_.part + ".")) used.insert(s_.tensor(name));
    }
    std::vector<std::string> extra;
    for (const TensorEntry& e : file_.tensors()) {
      if (e.name.starts_with(s_.from + ".") && used.count(e.name) == 0) extra.push_back(e.name);
    }
    return extra;
  }

  // As float, which they become.
  void check_numbers(const std::string& name) const {
    const TensorEntry& entry = file_.entry(s_.tensor(name));
    std::vector<float> values(size_t{1} << 16);
    for (int64_t first = 0; first < entry.count(); first += std::ssize(values)) {
      values.resize(static_cast<size_t>(std::min<int64_t>(std::ssize(values), entry.count() - first)));
      file_.read_some(entry.name, first, std::span(values));
      const auto bad =
          std::find_if_not(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
      if (bad == values.end()) continue;
      fail(ErrorKind::data, {file_.path().string() + ": " + entry.name, "finite numbers",
                             fmt::format("{} as element {}", *bad, first + (bad - values.begin())), ""});
    }
  }

  ParamStore::Values as_it_is(const std::string& name) const {
    return [file = s_.file, tensor = s_.tensor(name)](int64_t first, std::span<double> values) {
      file->read_some(tensor, first, values);
    };
  }

  // (O,3,kh,kw) -> (O,2L,kh,kw): each of the 2 L channels the mean over colours.
  ParamStore::Values averaged(const std::string& name) {
    const std::vector<int64_t> shape = params_.file_shape(name);
    const int64_t outputs = shape[0], channels = shape[1], window = shape[2] * shape[3];
    std::vector<double> colours(static_cast<size_t>(outputs * 3 * window)),
        mean(static_cast<size_t>(outputs * window));
    file_.read(s_.tensor(name), std::span(colours));
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t c = 0; c < 3; ++c) {
        for (int64_t k = 0; k < window; ++k)
          mean[static_cast<size_t>(o * window + k)] +=
              colours[static_cast<size_t>((o * 3 + c) * window + k)] / 3;
      }
    }
    notes_.push_back(fmt::format(
        "they are spatial weights: conv1_1 averaged over its 3 colours, for each of {} channels", channels));
    return [mean = std::move(mean), channels, window](int64_t first, std::span<double> values) {
      for (size_t k = 0; k < values.size(); ++k) {
        const int64_t index = first + static_cast<int64_t>(k), o = index / (channels * window);
        values[k] = mean[static_cast<size_t>(o * window + index % window)];
      }
    };
  }

  // Weights that fit, but were trained on numbers that mean something else.
  void note_what_sees_otherwise() {
    if (s_.part == kMotionNet || s_.crosses()) return;
    const std::optional<StreamSpec> theirs = spec_in(file_, s_.from);
    if (!theirs) return;
    if (theirs->kind == StreamKind::spatial && theirs->mean != spec_.mean)
      notes_.push_back(fmt::format("trained with the mean {}, this stream subtracts {}",
                                   fmt::join(theirs->mean, ", "), fmt::join(spec_.mean, ", ")));
    if (theirs->kind == StreamKind::temporal && spec_.kind == StreamKind::temporal &&
        theirs->flow_bound != spec_.flow_bound)
      notes_.push_back(fmt::format("trained on flow of up to {} pixels, this stream's is up to {}",
                                   theirs->flow_bound, spec_.flow_bound));
  }

  const Source& s_;
  const StreamSpec& spec_;
  const ParamStore& params_;
  const SafetensorsReader& file_;
  // Parameters, by how the file serves them; misshapen_ says how.
  std::vector<std::string> taken_, fresh_, missing_, misshapen_, notes_;
};

std::vector<std::string> parts_of(const StreamSpec& spec) {
  if (spec.kind == StreamKind::stacked) return {kMotionNet, kTemporal};
  return {scope_of(spec)};
}

// A file for a part that was named.
Source named_source(const std::string& part, const File& file) {
  if (has_part(*file, part)) return {part, part, file};
  if (part == kTemporal && has_part(*file, kSpatial)) return {part, kSpatial, file};
  fail(ErrorKind::data,
       {file->path().string(), "tensors named " + part + ".<layer>.weight and .bias",
        counted_tensors(file->tensors().size()) + " of other names",
        "'millrace-data inspect' shows them, 'millrace-data import' names others' weights as here"});
}

// Which file serves which part.
std::map<std::string, Source> assign(const std::vector<InitPart>& parts, const StreamSpec& spec) {
  const std::vector<std::string> ours = parts_of(spec);
  std::map<std::string, Source> sources;
  const auto add = [&](const Source& source, const std::string& option) {
    const auto [at, is_new] = sources.try_emplace(source.part, source);
    if (is_new) return;
    fail(ErrorKind::usage, {option, "one file for " + source.part,
                            at->second.file->path().string() + " and " + source.file->path().string(), ""});
  };
  const auto open = [](const InitPart& p) {
    return std::make_shared<SafetensorsReader>(resolve_weights(p.path));
  };
  for (const InitPart& p : parts) {
    if (p.part.empty()) continue;
    const std::string option = "--init " + p.part + "=";
    if (std::find(ours.begin(), ours.end(), p.part) == ours.end()) {
      fail(ErrorKind::usage,
           {option, "a part of a " + name_of(spec.kind) + " stream: " + joined(ours), p.part, ""});
    }
    add(named_source(p.part, open(p)), option);
  }
  const std::map<std::string, Source> named = sources;
  for (const InitPart& p : parts) {
    if (!p.part.empty()) continue;
    const File file = open(p);
    bool any = false;
    for (const std::string& part : ours) {
      if (!has_part(*file, part)) continue;
      any = true;
      if (named.count(part) == 0) add({part, part, file}, "--init");
    }
    if (any) continue;
    const bool other =
        std::find(ours.begin(), ours.end(), kTemporal) != ours.end() && has_part(*file, kSpatial);
    fail(
        ErrorKind::data,
        {file->path().string(), "weights of a " + name_of(spec.kind) + " stream: " + joined(ours),
         counted_tensors(file->tensors().size()) + " of other names",
         other ? "--init temporal=FILE takes spatial weights across modalities"
               : "'millrace-data inspect' shows them, 'millrace-data import' names others' weights as here"});
  }
  return sources;
}

}  // namespace

InitPart parse_init(const std::string& text) {
  const size_t equals = text.find('=');
  const std::string word = text.substr(0, equals);
  if (equals != std::string::npos && is_part(word)) {
    if (equals + 1 == text.size())
      fail(ErrorKind::usage, {"--init " + text, "a file behind '='", "none", ""});
    return {.part = word, .path = text.substr(equals + 1)};
  }
  if (text.empty()) fail(ErrorKind::usage, {"--init", "a file, checkpoint or run", "nothing", ""});
  if (equals != std::string::npos && !std::filesystem::exists(text))
    fail(ErrorKind::usage, {"--init " + text, std::string("FILE, or PART=FILE with ") + kAllParts, word, ""});
  return {.part = {}, .path = text};
}

std::vector<std::string> initialise_parts(const std::vector<InitPart>& parts, const StreamSpec& spec,
                                          const ParamStore& params, State& state) {
  std::map<std::string, ParamStore::Values> values;
  std::vector<std::string> done;
  for (const auto& [part, source] : assign(parts, spec)) {
    PartLoader loader(source, spec, params);
    loader.add_to(values);
    done.push_back(loader.sentence());
  }
  params.load(values, state);
  return done;
}

}  // namespace millrace
