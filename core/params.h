// ParamStore: the named parameters of a net. Nets ask it for their weights while they build a graph; it lays
// them out as slices of flat buffers, initialises them, and reads and writes them by name.
//
// Those with a learning-rate factor of 0, by the net's own or by a rule, are frozen: they lie in a buffer of
// their own, kFrozen, which has no gradients, moments or multipliers. Files do not tell which were.
//
// In memory convolution weights are (O,kh,kw,I), densely or in a device's layout; in files they are
// (O,I,kh,kw), and deconvolutions (I,O,kh,kw), as in Caffe and PyTorch. Both are one exchange of axes, since
// a deconvolution's "O" in memory is its input.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/flat_layout.h"
#include "core/graph.h"
#include "core/param_rules.h"
#include "core/precision.h"
#include "core/safetensors.h"
#include "core/state.h"

namespace millrace {

struct ParamOptions {
  double stddev = 0;   // of the Gaussian it starts from; 0: zeros
  double lr_mult = 1;  // factors of the run's learning rate and weight decay; lr_mult 0 freezes
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

  // Factors of the nets' own lr_mult, by patterns of names; the last that matches counts. Set before the
  // first parameter() is asked for, and checked by check_rules() when the nets are there.
  void set_rules(std::vector<ParamRule> rules);
  // Throws ErrorKind::usage where a rule's pattern matches no parameter.
  void check_rules() const;

  // The parameter as a value of the graph. The first call lays it out; later ones must ask for the same
  // shape.
  Value parameter(Graph& g, const std::string& name, Shape shape, ParamOptions options);

  const FlatLayout& layout() const { return layout_; }  // of those that train, in kParams
  const FlatLayout& frozen() const { return frozen_; }  // of those that do not, in kFrozen
  std::vector<std::string> names() const;               // of both, in the order they were asked for
  bool is_frozen(const std::string& name) const { return at(name).frozen; }
  int64_t count() const;  // elements of all parameters, without the gaps
  int64_t trained_count() const;

  // Creates the State's buffers of parameters, their copies and multipliers; parameters are zeros until they
  // are loaded. Calls check_rules().
  void create(State& state, Dtype real) const;
  // The same, and draws the parameters. A parameter depends on the seed, its name and its elements' order in
  // files only.
  void initialise(State& state, Dtype real, uint64_t seed) const;

  // A tensor per parameter for each buffer, named prefix + parameter name, streamed in the file's layout.
  // kParams means all parameters, frozen ones too; other buffers have those that train.
  struct Part {
    std::string buffer;  // "params", "moment1", ...
    std::string prefix;
  };
  void save(const std::filesystem::path& path, const State& state, const std::vector<Part>& parts,
            const std::map<std::string, std::string>& metadata) const;
  // Fills the buffers. Throws ErrorKind::data when a parameter is missing, has another shape or is not of
  // real numbers, before anything is changed. Tensors of other names are left alone, such as moments of what
  // is frozen now. The bf16 copies of parameters follow, if the State has them.
  void load(const SafetensorsReader& file, State& state, const std::vector<Part>& parts) const;

  // Fills the named parameters alone, from what gives elements [first, first + values.size()) in the order of
  // files. All names must be parameters. For what needs more than a file of the same names:
  // apps/actions/init.h.
  using Values = std::function<void(int64_t first, std::span<double> values)>;
  void load(const std::map<std::string, Values>& sources, State& state) const;
  // The extents that a parameter has in files.
  std::vector<int64_t> file_shape(const std::string& name) const;

 private:
  struct Entry {
    ParamOptions options;  // lr_mult with the rule's factor
    bool frozen;
    size_t slice;  // of the layout it is in
  };
  // Where values of a parameter are: in a buffer laid out like the parameters that train, or in kFrozen.
  struct Home {
    std::string buffer;
    const FlatSlice* slice;
    const Entry* entry;
  };

  const Entry& at(const std::string& name) const;
  const FlatSlice& slice_of(const Entry& entry) const;
  static std::vector<int64_t> file_shape(const FlatSlice& slice, const ParamOptions& options);
  // What a part has, in the order of names(). Throws unless the State's buffers hold it in real numbers.
  std::vector<Home> homes(const State& state, const std::string& buffer) const;
  void check_buffer(const State& state, const std::string& buffer, int64_t total) const;
  void write_copies(State& state) const;

  std::string device_;
  bool has_copy_ = false;
  std::vector<ParamRule> rules_;
  FlatLayout layout_, frozen_;
  std::vector<Entry> entries_;           // in the order they were asked for
  std::map<std::string, size_t> index_;  // into entries_
};

}  // namespace millrace
