// ParamStore: the named parameters of a net. Nets ask it for their weights while they build a graph; it lays
// them out as slices of one flat buffer, initialises them, and reads and writes them by name.
//
// In memory convolution weights are (O,kh,kw,I), densely or in a device's layout; in files they are
// (O,I,kh,kw), and deconvolutions (I,O,kh,kw), as in Caffe and PyTorch. Both are one exchange of axes, since
// a deconvolution's "O" in memory is its input.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/flat_layout.h"
#include "core/graph.h"
#include "core/precision.h"
#include "core/safetensors.h"
#include "core/state.h"

namespace millrace {

struct ParamOptions {
  double stddev = 0;   // of the Gaussian it starts from; 0: zeros
  double lr_mult = 1;  // factors of the run's learning rate and weight decay
  double decay_mult = 1;
  // In files the weights (O,H,W,C) are (O, C H W): those of a fully connected layer behind an image. They lie
  // densely on every device.
  bool flat = false;
};

// Caffe's `msra` filler (He et al. 2015): sqrt(2 / fan_in).
double msra(int64_t fan_in);

class ParamStore {
 public:
  // Weights lie densely, or as `device`'s kernels like them best (Registry::weight_layout). At
  // Precision::bf16 the State has the copy that such plans read, where the device does not emulate them.
  ParamStore() = default;
  explicit ParamStore(std::string device, Precision precision = Precision::fp32);

  // The parameter as a value of the graph. The first call lays it out; later ones must ask for the same
  // shape.
  Value parameter(Graph& g, const std::string& name, Shape shape, ParamOptions options);

  const FlatLayout& layout() const { return layout_; }
  int64_t count() const;  // elements of all parameters, without the gaps

  // Creates the State's buffers of parameters, their copy and multipliers, and draws the parameters. A
  // parameter depends on the seed, its name and its elements' order in files only.
  void initialise(State& state, Dtype real, uint64_t seed) const;

  // A tensor per parameter for each buffer, named prefix + parameter name, streamed in the file's layout.
  struct Part {
    std::string buffer;  // "params", "moment1", ...
    std::string prefix;
  };
  void save(const std::filesystem::path& path, const State& state, const std::vector<Part>& parts,
            const std::map<std::string, std::string>& metadata) const;
  // Fills the buffers. Throws ErrorKind::data when a parameter is missing, has another shape or is not of
  // real numbers, before anything is changed. Tensors of other names are left alone. The bf16 copy of
  // parameters follows, if the State has one.
  void load(const SafetensorsReader& file, State& state, const std::vector<Part>& parts) const;

 private:
  std::vector<int64_t> file_shape(size_t slice) const;
  // Throws unless the buffer holds the whole layout in real numbers.
  void check_buffer(const State& state, const std::string& buffer) const;

  void write_copy(State& state) const;

  std::string device_;
  bool has_copy_ = false;
  FlatLayout layout_;
  std::vector<ParamOptions> options_;  // per slice
  std::map<std::string, size_t> index_;
};

}  // namespace millrace
