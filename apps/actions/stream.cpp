#include "apps/actions/stream.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "apps/motionnet/net_file.h"
#include "layers/flow_to_input.h"
#include "layers/normalize_image.h"
#include "nets/vgg16.h"

namespace millrace {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "millrace streams 1";
constexpr const char* kScopes[] = {"spatial", "temporal"};
constexpr int64_t kMaxExtent = 8192, kMaxFlows = 256;
constexpr double kMaxFactor = 4, kMaxBound = 1e6;

std::string key_of(const std::string& scope) { return "stream." + scope; }

// Fails with `kind`; what is wrong is named `where` + the field.
class SpecChecker {
 public:
  SpecChecker(const StreamSpec& spec, ErrorKind kind, std::string where)
      : s_(spec), kind_(kind), where_(std::move(where)) {}

  void run() const {
    classes();
    size("input", s_.input, "a height and a width that are multiples of 32, at most 8192",
         [](int64_t extent) { return extent > 0 && extent % kVgg16Multiple == 0; });
    const Size& r = s_.resize;
    if (!(r == Size{}))
      size("resize", r, fmt::format("at least the input's {}x{}, or 0x0", s_.input.height, s_.input.width),
           [](int64_t extent) { return extent > 0; });
    require(s_.channels > 0 && s_.channels <= kMaxFactor, "channels", "a factor above 0, at most 4",
            fmt::format("{}", s_.channels));
    for (const double mean : s_.mean)
      require(mean >= 0 && mean <= 255, "mean", "numbers from 0 to 255", fmt::format("{}", mean));
    if (s_.kind == StreamKind::spatial) return;
    require(s_.flows >= 1 && s_.flows <= kMaxFlows, "flows", "1 to 256", std::to_string(s_.flows));
    require(s_.flow_bound > 0 && s_.flow_bound <= kMaxBound, "flow_bound", "pixels above 0, at most 1000000",
            fmt::format("{}", s_.flow_bound));
    if (s_.kind == StreamKind::stacked) motionnet();
  }

 private:
  void require(bool holds, const char* field, const std::string& expected, const std::string& got) const {
    if (!holds) fail(kind_, {where_ + field, expected, got, ""});
  }

  void classes() const {
    require(!s_.classes.empty(), "classes", "the name of at least one class", "none");
    std::set<std::string_view> seen;
    for (const std::string& name : s_.classes) {
      require(!name.empty(), "classes", "a name for each label", "an empty one");
      require(seen.insert(name).second, "classes", "a different name for each label",
              "'" + name + "' more than once");
    }
  }

  template <class Fits>
  void size(const char* field, const Size& s, const std::string& expected, const Fits& fits) const {
    const auto bounded = [&](int64_t extent) { return extent <= kMaxExtent && fits(extent); };
    require(bounded(s.height) && bounded(s.width), field, expected, fmt::format("{}x{}", s.height, s.width));
  }

  void motionnet() const {
    const MotionNetOptions& m = s_.motionnet;
    require(m.frames == s_.flows + 1, "motionnet.frames", fmt::format("one more than its {} flows", s_.flows),
            std::to_string(m.frames));
    require(m.channels > 0 && m.channels <= kMaxFactor, "motionnet.channels", "a factor above 0, at most 4",
            fmt::format("{}", m.channels));
    const auto [multiple, smallest] = motionnet_extents(m.kind);
    size("input", s_.input, fmt::format("a height and a width of at least {} for its MotionNet", smallest),
         [&](int64_t extent) { return extent >= smallest && extent % multiple == 0; });
  }

  const StreamSpec& s_;
  ErrorKind kind_;
  std::string where_;
};

json to_json(const StreamSpec& s) {
  json j{{"kind", name_of(s.kind)},
         {"classes", s.classes},
         {"input", {s.input.height, s.input.width}},
         {"resize", {s.resize.height, s.resize.width}},
         {"channels", s.channels},
         {"provenance", s.provenance}};
  if (s.kind == StreamKind::spatial) {
    j["mean"] = s.mean;
    return j;
  }
  j["flows"] = s.flows;
  if (s.kind == StreamKind::temporal) {
    j["flow_bound"] = s.flow_bound;
    return j;
  }
  j["quantise"] = s.quantise;
  j["replicate"] = s.replicate;
  j["motionnet"] = {{"net", name_of(s.motionnet.kind)},
                    {"channels", s.motionnet.channels},
                    {"small_displacement", s.motionnet.small_displacement},
                    {"smooth_conv", s.motionnet.smooth_conv}};
  return j;
}

// The fields of an object in a file that may be hostile.
class Fields {
 public:
  Fields(const json& object, std::string where) : j_(object), where_(std::move(where)) {}

  std::string text(const char* key) const {
    const json& v = at(key, "a text");
    require(v.is_string(), key, "a text", v);
    return v.get<std::string>();
  }
  bool flag(const char* key) const {
    const json& v = at(key, "true or false");
    require(v.is_boolean(), key, "true or false", v);
    return v.get<bool>();
  }
  double number(const char* key) const {
    const json& v = at(key, "a number");
    require(v.is_number(), key, "a number", v);
    return v.get<double>();
  }
  int64_t integer(const char* key) const {
    const json& v = at(key, "an integer");
    require(is_integer(v), key, "an integer", v);
    return v.get<int64_t>();
  }
  std::vector<std::string> texts(const char* key) const {
    const json& v = at(key, "a list of texts");
    require(v.is_array(), key, "a list of texts", v);
    std::vector<std::string> result;
    for (const json& each : v) {
      require(each.is_string(), key, "a list of texts", each);
      result.push_back(each.get<std::string>());
    }
    return result;
  }
  Size size(const char* key) const {
    constexpr const char* kExpected = "height and width, [224, 224]";
    const json& v = at(key, kExpected);
    require(v.is_array() && v.size() == 2 && is_integer(v[0]) && is_integer(v[1]), key, kExpected, v);
    return {v[0].get<int64_t>(), v[1].get<int64_t>()};
  }
  std::array<double, 3> mean(const char* key) const {
    constexpr const char* kExpected = "three numbers, of B, G and R";
    const json& v = at(key, kExpected);
    require(v.is_array() && v.size() == 3, key, kExpected, v);
    std::array<double, 3> result{};
    for (size_t k = 0; k < 3; ++k) {
      require(v[k].is_number(), key, kExpected, v);
      result[k] = v[k].get<double>();
    }
    return result;
  }
  Fields object(const char* key) const {
    const json& v = at(key, "an object");
    require(v.is_object(), key, "an object", v);
    return {v, where_ + key + "."};
  }
  [[noreturn]] void refuse(const char* key, const std::string& expected, const std::string& got) const {
    fail(ErrorKind::data, {where_ + key, expected, got, ""});
  }

 private:
  // Beyond this a double in JSON is no exact integer, and nothing here is as large.
  static bool is_integer(const json& v) {
    return v.is_number_integer() && v.get<double>() > -0x1p53 && v.get<double>() < 0x1p53;
  }
  const json& at(const char* key, const char* expected) const {
    const auto found = j_.find(key);
    if (found == j_.end()) refuse(key, expected, "nothing");
    return *found;
  }
  void require(bool holds, const char* key, const char* expected, const json& got) const {
    if (holds) return;
    std::string shown = got.dump(-1, ' ', false, json::error_handler_t::replace);
    if (shown.size() > 60) shown = shown.substr(0, 60) + "...";
    refuse(key, expected, shown);
  }

  const json& j_;
  std::string where_;
};

StreamKind parse_kind(const Fields& fields) {
  const std::string name = fields.text("kind");
  for (const StreamKind kind : {StreamKind::spatial, StreamKind::temporal, StreamKind::stacked}) {
    if (name == name_of(kind)) return kind;
  }
  fields.refuse("kind", "spatial, temporal or stacked", "'" + name + "'");
}

MotionNetOptions parse_motionnet(const Fields& fields, int64_t flows) {
  MotionNetOptions net{.frames = flows + 1, .channels = fields.number("channels")};
  const std::string name = fields.text("net");
  if (name == name_of(MotionNetKind::tiny))
    net.kind = MotionNetKind::tiny;
  else if (name != name_of(MotionNetKind::full))
    fields.refuse("net", "motionnet or tiny-motionnet", "'" + name + "'");
  net.small_displacement = fields.flag("small_displacement");
  net.smooth_conv = fields.flag("smooth_conv");
  return net;
}

StreamSpec parse_spec(const Fields& fields) {
  StreamSpec s{.kind = parse_kind(fields),
               .classes = fields.texts("classes"),
               .input = fields.size("input"),
               .resize = fields.size("resize"),
               .channels = fields.number("channels")};
  s.provenance = fields.text("provenance");
  if (s.kind == StreamKind::spatial) {
    s.mean = fields.mean("mean");
    return s;
  }
  s.flows = fields.integer("flows");
  if (s.kind == StreamKind::temporal) {
    s.flow_bound = fields.number("flow_bound");
    return s;
  }
  s.quantise = fields.flag("quantise");
  s.replicate = fields.flag("replicate");
  s.motionnet = parse_motionnet(fields.object("motionnet"), s.flows);
  return s;
}

NormalizeImageAttrs normalization(const StreamSpec& s) {
  switch (s.kind) {
    case StreamKind::spatial:
      return {.mean_b = s.mean[0], .mean_g = s.mean[1], .mean_r = s.mean[2], .scale = 1};
    case StreamKind::temporal:
      return {.mean_b = 128, .mean_g = 128, .mean_r = 128, .scale = 1};
    case StreamKind::stacked:
      break;
  }
  return {};  // what MotionNet is trained with
}

}  // namespace

std::string name_of(StreamKind kind) {
  switch (kind) {
    case StreamKind::spatial:
      return "spatial";
    case StreamKind::temporal:
      return "temporal";
    case StreamKind::stacked:
      break;
  }
  return "stacked";
}

std::string scope_of(const StreamSpec& spec) { return kScopes[spec.kind == StreamKind::spatial ? 0 : 1]; }

int64_t clip_frames(const StreamSpec& spec) {
  if (spec.kind == StreamKind::spatial) return 1;
  return spec.kind == StreamKind::temporal ? spec.flows : spec.flows + 1;
}

int64_t frame_channels(const StreamSpec& spec) { return spec.kind == StreamKind::temporal ? 2 : 3; }

Spec clip_spec(const StreamSpec& spec, int64_t batch) {
  return {{batch, spec.input.height, spec.input.width, clip_frames(spec) * frame_channels(spec)}, Dtype::u8};
}

StreamValues stream(Graph& g, ParamStore& params, Value clip, const StreamSpec& spec,
                    const std::optional<StreamTraining>& training) {
  SpecChecker(spec, ErrorKind::usage, name_of(spec.kind) + " stream: ").run();
  const Spec expected = clip_spec(spec, g.shape(clip)[0]);
  if (!(g.spec(clip) == expected))
    fail(ErrorKind::runtime,
         {name_of(spec.kind) + " stream", "a clip " + expected.to_string(), g.spec(clip).to_string(), ""});
  StreamValues values;
  values.images = values.input = normalize_image(g, clip, normalization(spec));
  if (spec.kind == StreamKind::stacked) {
    values.flows = motionnet(g, params, values.images, spec.motionnet);
    Graph::Scope scope(g, scope_of(spec) + "/input");
    values.input = flow_to_input(g, values.flows->at(kFinestLevel),
                                 {.quantise = spec.quantise, .replicate = spec.replicate});
  }
  Vgg16Options options{.scope = scope_of(spec),
                       .classes = static_cast<int64_t>(spec.classes.size()),
                       .channels = spec.channels};
  if (training) {
    options.lr_mult = training->lr_mult;
    options.dropout = {.at = training->dropout_at, .fc6 = training->dropout6, .fc7 = training->dropout7};
  }
  values.logits = vgg16(g, params, values.input, options);
  return values;
}

std::map<std::string, std::string> stream_metadata(const StreamSpec& spec) {
  SpecChecker(spec, ErrorKind::usage, name_of(spec.kind) + " stream: ").run();
  try {
    return {{"format", kFormat}, {key_of(scope_of(spec)), to_json(spec).dump()}};
  } catch (const json::type_error&) {  // the names of classes are the only text that comes from outside
    fail(ErrorKind::usage, {name_of(spec.kind) + " stream: classes", "names in UTF-8", "other bytes",
                            "rename the folder or the entry of the class list"});
  }
}

std::vector<StreamSpec> streams_of(const SafetensorsReader& file) {
  std::vector<StreamSpec> specs;
  for (const char* scope : kScopes) {
    const auto found = file.metadata().find(key_of(scope));
    if (found == file.metadata().end()) continue;
    const std::string where = file.path().string() + ": metadata " + found->first;
    const json j = json::parse(found->second, nullptr, false);
    if (!j.is_object()) fail(ErrorKind::data, {where, "a JSON object", "something else", ""});
    const StreamSpec spec = parse_spec(Fields(j, where + ": "));
    if (scope_of(spec) != scope)
      fail(ErrorKind::data, {where, std::string("a ") + scope + " stream", name_of(spec.kind), ""});
    SpecChecker(spec, ErrorKind::data, where + ": ").run();
    specs.push_back(spec);
  }
  if (specs.empty())
    fail(ErrorKind::data,
         {file.path().string(),
          "weights of twostream-train or 'millrace-data import', which say what stream they are",
          "a file without 'stream.spatial' or 'stream.temporal' in its metadata",
          "'millrace-data inspect' shows its tensors, 'millrace-data import' brings others' weights in"});
  return specs;
}

}  // namespace millrace
