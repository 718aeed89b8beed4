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

template <class T> void draw(State& state, const FlatSlice& slice, double stddev, uint64_t seed) {
  const RandomStream stream = random_stream(seed, "init/" + slice.name);
  write_slice<T>(state, kParams, slice, [&](int64_t first, std::span<T> values) {
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

}  // namespace

double msra(int64_t fan_in) { return std::sqrt(2.0 / static_cast<double>(fan_in)); }

ParamStore::ParamStore(std::string device, Precision precision)
    : device_(std::move(device)), has_copy_(precision == Precision::bf16 && has_bf16(device_)) {}

Value ParamStore::parameter(Graph& g, const std::string& name, Shape shape, ParamOptions options) {
  auto [found, is_new] = index_.try_emplace(name, layout_.slices.size());
  if (is_new) {
    FlatSlice slice{.name = name, .offset = layout_.total, .shape = shape};
    if (shape.rank() == 4 && !options.flat && !device_.empty())
      slice.layout = Registry::get().weight_layout(device_, {shape, has_copy_ ? Dtype::bf16 : g.real()});
    layout_.total += (slice.count() + kUpdateBlock - 1) / kUpdateBlock * kUpdateBlock;
    layout_.slices.push_back(std::move(slice));
    options_.push_back(options);
  }
  const FlatSlice& slice = layout_.slices[found->second];
  if (!(slice.shape == shape)) {
    fail(ErrorKind::runtime, {"parameter " + name, slice.shape.to_string(), shape.to_string(), ""});
  }
  return g.state({.buffer = kParams, .offset = slice.offset}, shape, name, slice.layout);
}

int64_t ParamStore::count() const {
  int64_t sum = 0;
  for (const FlatSlice& slice : layout_.slices) sum += slice.shape.count();
  return sum;
}

void ParamStore::initialise(State& state, Dtype real, uint64_t seed) const {
  state.create(kParams, real, layout_.total);
  state.create(kMultipliers, real, layout_.total / kUpdateBlock * 2);
  for (size_t k = 0; k < layout_.slices.size(); ++k) {
    const FlatSlice& slice = layout_.slices[k];
    const ParamOptions& o = options_[k];
    const int64_t blocks = (slice.count() + kUpdateBlock - 1) / kUpdateBlock;
    auto fill = [&]<class T>(T) {
      draw<T>(state, slice, o.stddev, seed);
      std::vector<T> rows;
      for (int64_t b = 0; b < blocks; ++b)
        rows.insert(rows.end(), {static_cast<T>(o.lr_mult), static_cast<T>(o.decay_mult)});
      state.write(kMultipliers, slice.offset / kUpdateBlock * 2, blocks * 2, rows.data());
    };
    if (real == Dtype::f64)
      fill(double{});
    else
      fill(float{});
  }
  if (!has_copy_) return;
  state.create(kParamsBf16, Dtype::bf16, layout_.total);
  write_copy(state);
}

void ParamStore::write_copy(State& state) const {
  std::vector<float> values(size_t{1} << 16);  // a part at a time: of large nets it is 170 MB
  std::vector<Bf16> rounded(values.size());
  for (int64_t first = 0; first < layout_.total; first += std::ssize(values)) {
    const int64_t count = std::min<int64_t>(std::ssize(values), layout_.total - first);
    state.read(kParams, first, count, values.data());
    std::transform(values.begin(), values.begin() + count, rounded.begin(), round_to_bf16);
    state.write(kParamsBf16, first, count, rounded.data());
  }
}

std::vector<int64_t> ParamStore::file_shape(size_t slice) const {
  const Shape& shape = layout_.slices[slice].shape;
  if (options_[slice].flat) return {shape[0], shape.count() / shape[0]};
  if (shape.rank() == 4) return {shape[0], shape[3], shape[1], shape[2]};
  std::vector<int64_t> extents;
  for (int axis = 0; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
  return extents;
}

void ParamStore::save(const std::filesystem::path& path, const State& state, const std::vector<Part>& parts,
                      const std::map<std::string, std::string>& metadata) const {
  SafetensorsContent content{.tensors = {}, .metadata = metadata};
  struct Source {
    const FlatSlice* slice;
    std::string buffer;
  };
  std::map<std::string, Source> sources;
  for (const Part& part : parts) {
    check_buffer(state, part.buffer);
    const std::string dtype = state.at(part.buffer).dtype == Dtype::f64 ? "F64" : "F32";
    for (size_t k = 0; k < layout_.slices.size(); ++k) {
      const FlatSlice& slice = layout_.slices[k];
      content.tensors.push_back({.name = part.prefix + slice.name, .dtype = dtype, .shape = file_shape(k)});
      sources[part.prefix + slice.name] = {&slice, part.buffer};
    }
  }
  std::string open;  // tensors are written one after another
  SliceSource from;
  write_safetensors(path, content,
                    [&](const TensorEntry& entry, uint64_t offset, std::span<std::byte> chunk) {
                      if (open != entry.name) {
                        const Source& source = sources.at(open = entry.name);
                        from = {source.buffer, source.slice->offset, SliceMap(*source.slice)};
                      }
                      auto copy = [&]<class T>(T) {
                        read_in_file_order(state, from, static_cast<int64_t>(offset / sizeof(T)),
                                           static_cast<int64_t>(chunk.size() / sizeof(T)),
                                           reinterpret_cast<T*>(chunk.data()));
                      };
                      if (entry.dtype == "F64")
                        copy(double{});
                      else
                        copy(float{});
                    });
}

void ParamStore::check_buffer(const State& state, const std::string& buffer) const {
  const Tensor& t = state.at(buffer);
  if (t.count() < layout_.total || (t.dtype != Dtype::f32 && t.dtype != Dtype::f64)) {
    fail(ErrorKind::runtime,
         {"state " + buffer, "real numbers for " + std::to_string(layout_.total) + " elements of parameters",
          Spec{t.shape, t.dtype}.to_string(), ""});
  }
}

void ParamStore::load(const SafetensorsReader& file, State& state, const std::vector<Part>& parts) const {
  for (const Part& part : parts) {
    check_buffer(state, part.buffer);
    for (size_t k = 0; k < layout_.slices.size(); ++k) {
      const std::string name = part.prefix + layout_.slices[k].name;
      if (!file.has(name)) {
        fail(ErrorKind::data,
             {file.path().string(), "a tensor '" + name + "'",
              std::to_string(file.tensors().size()) + " others", "is it a checkpoint of another net?"});
      }
      const std::string& dtype = file.entry(name).dtype;
      if (dtype != "F32" && dtype != "F64" && dtype != "F16" && dtype != "BF16") {
        fail(ErrorKind::data, {file.path().string() + ": " + name, "dtype F32, F64, F16 or BF16", dtype, ""});
      }
      if (file.entry(name).shape != file_shape(k)) {
        fail(ErrorKind::data, {file.path().string() + ": " + name, shape_text(file_shape(k)),
                               shape_text(file.entry(name).shape),
                               "is it a checkpoint of another net, --channels or --frames?"});
      }
    }
  }
  for (const Part& part : parts) {
    for (const FlatSlice& slice : layout_.slices) {
      auto read = [&]<class T>(T) {
        write_slice<T>(state, part.buffer, slice, [&](int64_t first, std::span<T> values) {
          file.read_some(part.prefix + slice.name, first, values);
        });
      };
      if (state.at(part.buffer).dtype == Dtype::f64)
        read(double{});
      else
        read(float{});
    }
  }
  const bool changed =
      std::any_of(parts.begin(), parts.end(), [](const Part& p) { return p.buffer == kParams; });
  if (changed && state.has(kParamsBf16)) write_copy(state);
}

}  // namespace millrace
