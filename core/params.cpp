#include "core/params.h"

#include <algorithm>
#include <cmath>

#include "core/rng.h"

namespace millrace {
namespace {

// Exchanges the layouts of one output's weights: memory (kh,kw,I) and file (I,kh,kw). `spatial` is kh kw.
struct Exchange {
  int64_t channels = 1, spatial = 1;

  explicit Exchange(const Shape& shape) {
    if (shape.rank() == 4) {
      channels = shape[3];
      spatial = shape[1] * shape[2];
    } else {
      channels = shape.count();
    }
  }
  int64_t size() const { return channels * spatial; }
  // Of element k in the file's order, the place in memory.
  int64_t memory(int64_t k) const { return spatial == 1 ? k : (k % spatial) * channels + k / spatial; }
};

// Reads elements [first, first + count) of a slice in the file's order, one output's weights at a time.
template <class T> void read_in_file_order(const State& state, const std::string& buffer,
                                           const FlatSlice& slice, int64_t first, int64_t count, T* to) {
  const Exchange e(slice.shape);
  std::vector<T> block(static_cast<size_t>(e.size()));
  for (int64_t done = 0; done < count;) {
    const int64_t outer = (first + done) / e.size(), inner = (first + done) % e.size();
    const int64_t now = std::min(e.size() - inner, count - done);
    state.read(buffer, slice.offset + outer * e.size(), e.size(), block.data());
    for (int64_t k = 0; k < now; ++k) to[done + k] = block[static_cast<size_t>(e.memory(inner + k))];
    done += now;
  }
}

template <class T>
void write_slice(State& state, const std::string& buffer, const FlatSlice& slice,
                 const std::function<void(int64_t first, std::vector<T>& file_order)>& source) {
  const Exchange e(slice.shape);
  std::vector<T> in_file(static_cast<size_t>(e.size())), in_memory(in_file.size());
  for (int64_t first = 0; first < slice.shape.count(); first += e.size()) {
    source(first, in_file);
    for (int64_t k = 0; k < e.size(); ++k)
      in_memory[static_cast<size_t>(e.memory(k))] = in_file[static_cast<size_t>(k)];
    state.write(buffer, slice.offset + first, e.size(), in_memory.data());
  }
}

template <class T> void draw(State& state, const FlatSlice& slice, double stddev, uint64_t seed) {
  const RandomStream stream = random_stream(seed, "init/" + slice.name);
  write_slice<T>(state, kParams, slice, [&](int64_t first, std::vector<T>& values) {
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

Value ParamStore::parameter(Graph& g, const std::string& name, Shape shape, ParamOptions options) {
  auto [found, is_new] = index_.try_emplace(name, layout_.slices.size());
  if (is_new) {
    layout_.slices.push_back({.name = name, .offset = layout_.total, .shape = shape});
    layout_.total += (shape.count() + kUpdateBlock - 1) / kUpdateBlock * kUpdateBlock;
    options_.push_back(options);
  }
  const FlatSlice& slice = layout_.slices[found->second];
  if (!(slice.shape == shape)) {
    fail(ErrorKind::runtime, {"parameter " + name, slice.shape.to_string(), shape.to_string(), ""});
  }
  return g.state({.buffer = kParams, .offset = slice.offset}, shape, name);
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
    const int64_t blocks = (slice.shape.count() + kUpdateBlock - 1) / kUpdateBlock;
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
}

std::vector<int64_t> ParamStore::file_shape(const Shape& shape) const {
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
    for (const FlatSlice& slice : layout_.slices) {
      content.tensors.push_back(
          {.name = part.prefix + slice.name, .dtype = dtype, .shape = file_shape(slice.shape)});
      sources[part.prefix + slice.name] = {&slice, part.buffer};
    }
  }
  write_safetensors(
      path, content, [&](const TensorEntry& entry, uint64_t offset, std::span<std::byte> chunk) {
        const Source& from = sources.at(entry.name);
        auto copy = [&]<class T>(T) {
          read_in_file_order(state, from.buffer, *from.slice, static_cast<int64_t>(offset / sizeof(T)),
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
    for (const FlatSlice& slice : layout_.slices) {
      const std::string name = part.prefix + slice.name;
      if (!file.has(name)) {
        fail(ErrorKind::data,
             {file.path().string(), "a tensor '" + name + "'",
              std::to_string(file.tensors().size()) + " others", "is it a checkpoint of another net?"});
      }
      const std::string& dtype = file.entry(name).dtype;
      if (dtype != "F32" && dtype != "F64" && dtype != "F16" && dtype != "BF16") {
        fail(ErrorKind::data, {file.path().string() + ": " + name, "dtype F32, F64, F16 or BF16", dtype, ""});
      }
      if (file.entry(name).shape != file_shape(slice.shape)) {
        fail(ErrorKind::data, {file.path().string() + ": " + name, shape_text(file_shape(slice.shape)),
                               shape_text(file.entry(name).shape),
                               "is it a checkpoint of another net, --channels or --frames?"});
      }
    }
  }
  for (const Part& part : parts) {
    for (const FlatSlice& slice : layout_.slices) {
      auto read = [&]<class T>(T) {
        write_slice<T>(state, part.buffer, slice, [&](int64_t first, std::vector<T>& values) {
          file.read_some(part.prefix + slice.name, first, std::span<T>(values));
        });
      };
      if (state.at(part.buffer).dtype == Dtype::f64)
        read(double{});
      else
        read(float{});
    }
  }
}

}  // namespace millrace
