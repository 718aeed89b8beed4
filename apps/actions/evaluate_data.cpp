#include "apps/actions/evaluate_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "apps/support/opening.h"
#include "core/error.h"
#include "core/log.h"
#include "data/files_source.h"
#include "data/list_source.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

std::string lower_case(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

bool are_numbers(const std::vector<std::string>& names) {
  for (size_t k = 0; k < names.size(); ++k) {
    if (names[k] != std::to_string(k)) return false;
  }
  return true;
}

LabelBase parse_base(const std::string& base) {
  return base == "0" ? LabelBase::zero : base == "1" ? LabelBase::one : LabelBase::automatic;
}

bool reads_flow(const StreamSpec& stream) { return stream.kind == StreamKind::temporal; }

uint64_t bytes_of_file(const std::string& path) {
  std::error_code error;
  if (path.empty() || !fs::is_regular_file(path, error)) return 0;
  const uint64_t bytes = fs::file_size(path, error);
  return error ? 0 : bytes;
}

struct VideoKey {
  std::string folder, name;

  explicit VideoKey(const std::string& path) {
    fs::path p = fs::path(path).lexically_normal();
    if (!p.has_filename()) p = p.parent_path();
    if (is_video_name(p)) p.replace_extension();
    name = lower_case(p.filename().string());
    folder = lower_case(p.parent_path().filename().string());
  }
  std::string text() const { return folder.empty() ? name : folder + "/" + name; }
};

class Opener {
 public:
  explicit Opener(const EvalDataOptions& options) : o_(options) { data_.spec = options.spec; }

  EvalData open() {
    for (const StreamSpec& stream : o_.streams) {
      SourcePtr& source = reads_flow(stream) ? flow_ : frames_;
      if (!source) source = open_source(reads_flow(stream) ? flow_options(stream) : frame_options());
      data_.sources.push_back(source);
    }
    list_videos();
    return std::move(data_);
  }

 private:
  SourceOptions options(const std::string& spec, const std::string& root) {
    SourceOptions options;
    options.spec = spec;
    options.data_root = root;
    options.skip_missing = o_.skip_missing;
    options.labelled = true;
    options.classes_file = o_.classes_file;
    options.label_base = parse_base(o_.label_base);
    options.warn = [](const std::string& text) { log_warning(text); };
    options.left_out = [this](const std::string& name, const std::string& reason) {
      data_.left_out.push_back({.video = printable(name), .reason = printable(reason)});
    };
    options.skipped = [this](const std::string& name, const std::string& reason) {
      data_.missing.push_back({.video = printable(name), .reason = printable(reason)});
    };
    options.progress = opening_bar();
    return options;
  }

  SourceOptions frame_options() { return options(o_.spec, o_.data_root); }

  // Stored flow has the names of its videos: a list's paths lie below --flow, or --flow is the whole data.
  SourceOptions flow_options(const StreamSpec& stream) {
    const bool list = is_list_spec(o_.spec), given = !o_.flow.empty();
    SourceOptions result =
        options(given && !list ? o_.flow : o_.spec, given && list ? o_.flow : o_.data_root);
    result.flow = true;
    result.flow_bound = stream.flow_bound;
    return result;
  }

  void list_videos() {
    const SourcePtr& first = data_.sources.front();
    const std::vector<std::string> labels = match_classes(first->classes(), o_);
    std::unordered_map<std::string, int64_t> flow_items;
    const bool joins = frames_ && flow_;
    for (int64_t k = 0; joins && k < flow_->size(); ++k) flow_items.emplace(flow_->name(k), k);
    for (int64_t item = 0; item < first->size(); ++item) {
      EvalVideo video{.name = unlike_others(printable(first->name(item))),
                      .label = labels.at(static_cast<size_t>(first->label(item).value())),
                      .path = first->path(item),
                      .bytes = bytes_of_file(first->path(item)),
                      .items = {}};
      const auto flow = flow_items.find(first->name(item));
      if (joins && flow == flow_items.end()) {
        data_.left_out.push_back({.video = video.name, .reason = "no stored flow of it below --flow"});
        log_warning(fmt::format("{}: no stored flow of it below --flow; left out", video.name));
        continue;
      }
      for (const SourcePtr& source : data_.sources)
        video.items.push_back(joins && source == flow_ ? flow->second : item);
      data_.videos.push_back(std::move(video));
    }
    if (data_.videos.empty())
      fail(ErrorKind::data,
           {o_.spec, "a video with stored flow", "none", "motionnet-flow --format jpg writes it"});
  }

  // Names that differ only in what cannot be printed.
  std::string unlike_others(std::string name) {
    while (!names_.insert(name).second) name += "_";
    return name;
  }

  const EvalDataOptions& o_;
  EvalData data_;
  std::set<std::string> names_;
  SourcePtr frames_, flow_;
};

}  // namespace

EvalData EvalData::open(const EvalDataOptions& options) { return Opener(options).open(); }

std::vector<std::string> match_classes(const std::vector<std::string>& data, const EvalDataOptions& options) {
  const std::vector<std::string>& known = options.weights_classes;
  if (are_numbers(data) && !are_numbers(known) && data.size() <= known.size()) {
    log_info(
        fmt::format("{}: its classes have no names, only numbers; class 0 is taken for '{}', class {} for "
                    "'{}' (--classes gives names)",
                    options.spec, known[0], data.size() - 1, known[data.size() - 1]));
    return {known.begin(), known.begin() + static_cast<std::ptrdiff_t>(data.size())};
  }
  std::unordered_map<std::string, std::string> by_lower_case;
  for (const std::string& name : known) by_lower_case[lower_case(name)] = name;
  std::vector<std::string> matched;
  for (const std::string& name : data) {
    const auto found = by_lower_case.find(lower_case(name));
    if (found == by_lower_case.end()) {
      fail(ErrorKind::data,
           {options.spec,
            fmt::format("classes of {}: {}", options.weights_name,
                        known.size() == 1
                            ? "'" + known[0] + "'"
                            : fmt::format("{}, '{}' to '{}'", known.size(), known.front(), known.back())),
            fmt::format("'{}', its class {} of {}", printable(name), matched.size() + 1, data.size()),
            "Names must be those of the training; --classes FILE gives the names of the data's labels"});
    }
    // Of names that differ in case alone, each is its own.
    const bool exact = std::find(known.begin(), known.end(), name) != known.end();
    matched.push_back(exact ? name : found->second);
  }
  if (data.size() < known.size()) {
    log_info(fmt::format("{}: {} of the {} classes that {} knows", options.spec, data.size(), known.size(),
                         options.weights_name));
  }
  return matched;
}

std::string printable(const std::string& name) {
  std::string text = name;
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  using nlohmann::json;
  const std::string valid = json(text).dump(-1, ' ', false, json::error_handler_t::replace);
  return json::parse(valid).get<std::string>();
}

KnownVideos::KnownVideos(const std::string& spec, const std::string& data_root) {
  if (spec.starts_with("synthetic:")) return;
  SourceOptions options;
  options.spec = spec;
  options.data_root = data_root;
  options.warn = [](const std::string&) {};
  if (is_list_spec(spec)) {
    for (const ListEntry& entry : read_list_of(options).list.entries) add(entry.path);
  } else {
    for (const FileItem& item : list_files(options)) add(item.path.string());
  }
}

void KnownVideos::add(const std::string& path) {
  const VideoKey key(path);
  keys_.insert(key.text());
  names_.insert(key.name);
}

bool KnownVideos::has(const std::string& path) const {
  const VideoKey key(path);
  if (key.folder.empty()) return names_.contains(key.name);
  return keys_.contains(key.text()) || keys_.contains(key.name);
}

}  // namespace millrace
