#include "core/params.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/precision_pass.h"
#include "core/registry.h"
#include "core/rng.h"

namespace millrace {
namespace {

// Where the elements of a slice lie in the flat buffer. They are handled in groups of outputs: in each layout
// a group is one piece of the buffer, and all pieces are alike.
class SliceMap {
 public:
  SliceMap() = default;
  explicit SliceMap(const FlatSlice& slice) {
    const Shape& s = slice.shape;
    if (s.rank() != 4) {
      groups_ = s.rank() == 2 ? s[0] : 1;  // of matrices the rows, which keeps this table short
      piece_ = groups_ > 0 ? s.count() / groups_ : 0;
      places_.resize(static_cast<size_t>(piece_));
      std::iota(places_.begin(), places_.end(), int64_t{0});
      return;
    }
    int64_t outputs = 1;
    for (const Layout::Block& b : slice.layout.blocks) outputs = b.axis == 0 ? b.size : outputs;
    groups_ = (s[0] + outputs - 1) / outputs;
    // Outputs that a pad adds lie behind all groups.
    Layout group = slice.layout;
    std::erase_if(group.pads, [](const Layout::Block& pad) { return pad.axis == 0; });
    const Shape shape{outputs, s[1], s[2], s[3]};
    piece_ = group.count(shape);
    const LayoutTable table = layout_table(group, shape);
    for (int64_t at_output : table[0]) {
      for (int64_t at_channel : table[3]) {
        for (int64_t at_row : table[1]) {
          for (int64_t at_column : table[2]) places_.push_back(at_output + at_channel + at_row + at_column);
        }
      }
    }
  }

  int64_t groups() const { return groups_; }
  int64_t piece() const { return piece_; }  // elements of the buffer in a group
  int64_t group_size() const { return static_cast<int64_t>(places_.size()); }  // elements of the slice in one
  // Of element k of the slice in the file's order, the place within its group's piece.
  int64_t place(int64_t k) const { return places_[static_cast<size_t>(k % group_size())]; }

 private:
  std::vector<int64_t> places_;
  int64_t groups_ = 0, piece_ = 0;
};

// Reads elements [first, first + count) of a slice in the file's order, one group at a time.
struct SliceSource {
  std::string buffer;
  int64_t offset = 0;  // of the slice
  SliceMap map;
};
template <class T>
void read_in_file_order(const State& state, const SliceSource& from, int64_t first, int64_t count, T* to) {
  const SliceMap& map = from.map;
  std::vector<T> piece(static_cast<size_t>(map.piece()));
  for (int64_t k = first; k < first + count;) {
    const int64_t group = k / map.group_size();
    const int64_t end = std::min(first + count, (group + 1) * map.group_size());
    state.read(from.buffer, from.offset + group * map.piece(), map.piece(), piece.data());
    for (; k < end; ++k) to[k - first] = piece[static_cast<size_t>(map.place(k))];
  }
}

template <class T>
void write_slice(State& state, const std::string& buffer, const FlatSlice& slice,
                 const std::function<void(int64_t first, std::span<T> file_order)>& source) {
  const SliceMap map(slice);
  std::vector<T> in_file(static_cast<size_t>(map.group_size())), piece(static_cast<size_t>(map.piece()));
  for (int64_t group = 0; group < map.groups(); ++group) {
    const int64_t first = group * map.group_size();
    const int64_t count = std::min(map.group_size(), slice.shape.count() - first);
    source(first, std::span<T>(in_file).first(static_cast<size_t>(count)));
    std::fill(piece.begin(), piece.end(), T(0));
    for (int64_t k = 0; k < count; ++k)
      piece[static_cast<size_t>(map.place(first + k))] = in_file[static_cast<size_t>(k)];
    state.write(buffer, slice.offset + group * map.piece(), map.piece(), piece.data());
  }
}

template <class T>
void draw(State& state, const std::string& buffer, const FlatSlice& slice, double stddev, uint64_t seed) {
  const RandomStream stream = random_stream(seed, "init/" + slice.name);
  write_slice<T>(state, buffer, slice, [&](int64_t first, std::span<T> values) {
    for (size_t k = 0; k < values.size(); ++k) {
      values[k] =
          stddev == 0
              ? T(0)
              : static_cast<T>(stddev * stream.normal({.step = 0, .index = first + static_cast<int64_t>(k)}));
    }
  });
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (int64_t extent : shape) text += (text.empty() ? "(" : ",") + std::to_string(extent);
  return text + ")";
}

// `fill` of a zero of that type.
template <class Fill> void with_real(Dtype real, const Fill& fill) {
  if (real == Dtype::f64)
    fill(double{});
  else
    fill(float{});
}

// The buffer in bf16, laid out alike.
void write_copy(State& state, const std::string& from, const std::string& to) {
  std::vector<float> values(size_t{1} << 16);  // a part at a time: of large nets it is 170 MB
  std::vector<Bf16> rounded(values.size());
  const int64_t total = state.at(to).count();
  for (int64_t first = 0; first < total; first += std::ssize(values)) {
    const int64_t count = std::min<int64_t>(std::ssize(values), total - first);
    state.read(from, first, count, values.data());
    std::transform(values.begin(), values.begin() + count, rounded.begin(), round_to_bf16);
    state.write(to, first, count, rounded.data());
  }
}

int64_t elements(const FlatLayout& layout) {
  return std::accumulate(layout.slices.begin(), layout.slices.end(), int64_t{0},
                         [](int64_t sum, const FlatSlice& slice) { return sum + slice.shape.count(); });
}

}  // namespace

double msra(int64_t fan_in) { return std::sqrt(2.0 / static_cast<double>(fan_in)); }

ParamStore::ParamStore(std::string device, Precision precision)
    : device_(std::move(device)), has_copy_(precision == Precision::bf16 && has_bf16(device_)) {}

void ParamStore::set_rules(std::vector<ParamRule> rules) {
  if (!entries_.empty()) {
    fail(ErrorKind::runtime, {"ParamStore::set_rules", "no parameters yet, for rules decide where they lie",
                              std::to_string(entries_.size()) + " parameters", ""});
  }
  check_factors(rules);
  rules_ = std::move(rules);
}

void ParamStore::check_rules() const { check_patterns(rules_, names()); }

Value ParamStore::parameter(Graph& g, const std::string& name, Shape shape, ParamOptions options) {
  auto [found, is_new] = index_.try_emplace(name, entries_.size());
  if (is_new) {
    options.lr_mult *= rule_factor(rules_, name);
    const bool frozen = options.lr_mult == 0;
    FlatLayout& layout = frozen ? frozen_ : layout_;
    FlatSlice slice{.name = name, .offset = layout.total, .shape = shape};
    if (shape.rank() == 4 && !options.flat && !device_.empty())
      slice.layout = Registry::get().weight_layout(device_, {shape, has_copy_ ? Dtype::bf16 : g.real()});
    layout.total += (slice.count() + kUpdateBlock - 1) / kUpdateBlock * kUpdateBlock;
    entries_.push_back({.options = options, .frozen = frozen, .slice = layout.slices.size()});
    layout.slices.push_back(std::move(slice));
  }
  const Entry& entry = entries_[found->second];
  const FlatSlice& slice = slice_of(entry);
  if (!(slice.shape == shape)) {
    fail(ErrorKind::runtime, {"parameter " + name, slice.shape.to_string(), shape.to_string(), ""});
  }
  return g.state({.buffer = entry.frozen ? kFrozen : kParams, .offset = slice.offset}, shape, name,
                 slice.layout);
}

const ParamStore::Entry& ParamStore::at(const std::string& name) const {
  const auto found = index_.find(name);
  if (found == index_.end())
    fail(ErrorKind::runtime, {"ParamStore", "a parameter '" + name + "'", "none of that name", ""});
  return entries_[found->second];
}

const FlatSlice& ParamStore::slice_of(const Entry& entry) const {
  return (entry.frozen ? frozen_ : layout_).slices[entry.slice];
}

std::vector<std::string> ParamStore::names() const {
  std::vector<std::string> names;
  for (const Entry& entry : entries_) names.push_back(slice_of(entry).name);
  return names;
}

int64_t ParamStore::count() const { return elements(layout_) + elements(frozen_); }

int64_t ParamStore::trained_count() const { return elements(layout_); }

void ParamStore::create(State& state, Dtype real) const {
  check_rules();
  state.create(kParams, real, layout_.total);
  state.create(kMultipliers, real, layout_.total / kUpdateBlock * 2);
  if (frozen_.total > 0) state.create(kFrozen, real, frozen_.total);
  for (const Entry& entry : entries_) {
    if (entry.frozen) continue;
    const FlatSlice& slice = slice_of(entry);
    const ParamOptions& o = entry.options;
    with_real(real, [&]<class T>(T) {
      const int64_t blocks = (slice.count() + kUpdateBlock - 1) / kUpdateBlock;
      std::vector<T> rows;
      for (int64_t b = 0; b < blocks; ++b)
        rows.insert(rows.end(), {static_cast<T>(o.lr_mult), static_cast<T>(o.decay_mult)});
      state.write(kMultipliers, slice.offset / kUpdateBlock * 2, blocks * 2, rows.data());
    });
  }
  if (!has_copy_) return;
  state.create(kParamsBf16, Dtype::bf16, layout_.total);
  if (frozen_.total > 0) state.create(kFrozenBf16, Dtype::bf16, frozen_.total);
}

void ParamStore::initialise(State& state, Dtype real, uint64_t seed) const {
  create(state, real);
  for (const Entry& entry : entries_) {
    with_real(real, [&]<class T>(T) {
      draw<T>(state, entry.frozen ? kFrozen : kParams, slice_of(entry), entry.options.stddev, seed);
    });
  }
  write_copies(state);
}

void ParamStore::write_copies(State& state) const {
  if (state.has(kParamsBf16)) write_copy(state, kParams, kParamsBf16);
  if (state.has(kFrozenBf16)) write_copy(state, kFrozen, kFrozenBf16);
}

std::vector<int64_t> ParamStore::file_shape(const std::string& name) const {
  const Entry& entry = at(name);
  return file_shape(slice_of(entry), entry.options);
}

std::vector<int64_t> ParamStore::file_shape(const FlatSlice& slice, const ParamOptions& options) {
  const Shape& shape = slice.shape;
  if (options.flat) return {shape[0], shape.count() / shape[0]};
  if (shape.rank() == 4) return {shape[0], shape[3], shape[1], shape[2]};
  std::vector<int64_t> extents;
  for (int axis = 0; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
  return extents;
}

std::vector<ParamStore::Home> ParamStore::homes(const State& state, const std::string& buffer) const {
  check_buffer(state, buffer, layout_.total);
  const bool all = buffer == kParams;
  if (all && frozen_.total > 0) check_buffer(state, kFrozen, frozen_.total);
  std::vector<Home> homes;
  for (const Entry& entry : entries_) {
    const FlatSlice& slice = slice_of(entry);
    if (all || !entry.frozen) homes.push_back({entry.frozen ? kFrozen : buffer, &slice, &entry});
  }
  return homes;
}

void ParamStore::check_buffer(const State& state, const std::string& buffer, int64_t total) const {
  const Tensor& t = state.at(buffer);
  if (t.count() < total || (t.dtype != Dtype::f32 && t.dtype != Dtype::f64)) {
    fail(ErrorKind::runtime,
         {"state " + buffer, "real numbers for " + std::to_string(total) + " elements of parameters",
          Spec{t.shape, t.dtype}.to_string(), ""});
  }
}

void ParamStore::save(const std::filesystem::path& path, const State& state, const std::vector<Part>& parts,
                      const std::map<std::string, std::string>& metadata) const {
  SafetensorsContent content{.tensors = {}, .metadata = metadata};
  std::map<std::string, Home> sources;
  for (const Part& part : parts) {
    for (Home& home : homes(state, part.buffer)) {
      const std::string dtype = state.at(home.buffer).dtype == Dtype::f64 ? "F64" : "F32";
      content.tensors.push_back({.name = part.prefix + home.slice->name,
                                 .dtype = dtype,
                                 .shape = file_shape(*home.slice, home.entry->options)});
      sources[content.tensors.back().name] = std::move(home);
    }
  }
  std::string open;  // tensors are written one after another
  SliceSource from;
  write_safetensors(path, content,
                    [&](const TensorEntry& entry, uint64_t offset, std::span<std::byte> chunk) {
                      if (open != entry.name) {
                        const Home& home = sources.at(open = entry.name);
                        from = {home.buffer, home.slice->offset, SliceMap(*home.slice)};
                      }
                      with_real(entry.dtype == "F64" ? Dtype::f64 : Dtype::f32, [&]<class T>(T) {
                        read_in_file_order(state, from, static_cast<int64_t>(offset / sizeof(T)),
                                           static_cast<int64_t>(chunk.size() / sizeof(T)),
                                           reinterpret_cast<T*>(chunk.data()));
                      });
                    });
}

void ParamStore::load(const SafetensorsReader& file, State& state, const std::vector<Part>& parts) const {
  for (const Part& part : parts) {
    for (const Home& home : homes(state, part.buffer)) {
      const std::string name = part.prefix + home.slice->name;
      const std::vector<int64_t> shape = file_shape(*home.slice, home.entry->options);
      if (!file.has(name)) {
        fail(ErrorKind::data,
             {file.path().string(), "a tensor '" + name + "'",
              std::to_string(file.tensors().size()) + " others", "is it a checkpoint of another net?"});
      }
      const std::string& dtype = file.entry(name).dtype;
      if (dtype != "F32" && dtype != "F64" && dtype != "F16" && dtype != "BF16") {
        fail(ErrorKind::data, {file.path().string() + ": " + name, "dtype F32, F64, F16 or BF16", dtype, ""});
      }
      if (file.entry(name).shape != shape) {
        fail(ErrorKind::data,
             {file.path().string() + ": " + name, shape_text(shape), shape_text(file.entry(name).shape),
              "is it a checkpoint of another net, --channels or --frames?"});
      }
    }
  }
  bool changed = false;  // values, not only moments
  for (const Part& part : parts) {
    changed = changed || part.buffer == kParams;
    for (const Home& home : homes(state, part.buffer)) {
      with_real(state.at(home.buffer).dtype, [&]<class T>(T) {
        write_slice<T>(state, home.buffer, *home.slice, [&](int64_t first, std::span<T> values) {
          file.read_some(part.prefix + home.slice->name, first, values);
        });
      });
    }
  }
  if (changed) write_copies(state);
}

void ParamStore::load(const std::map<std::string, Values>& sources, State& state) const {
  for (const auto& [name, source] : sources) at(name);
  std::vector<double> exact;
  for (const Home& home : homes(state, kParams)) {
    const auto source = sources.find(home.slice->name);
    if (source == sources.end()) continue;
    with_real(state.at(home.buffer).dtype, [&]<class T>(T) {
      write_slice<T>(state, home.buffer, *home.slice, [&](int64_t first, std::span<T> values) {
        exact.resize(values.size());
        source->second(first, exact);
        std::transform(exact.begin(), exact.end(), values.begin(),
                       [](double value) { return static_cast<T>(value); });
      });
    });
  }
  write_copies(state);
}

}  // namespace millrace
