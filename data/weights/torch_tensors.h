// Tensors in the pickle of a PyTorch file: where each lies in its storage.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/weights/pickle.h"

namespace millrace {

// What a pickle's persistent id says of data outside of it.
struct TorchStorage {
  std::string key = {};    // names the data
  std::string dtype = {};  // as safetensors spells it
  int64_t count = 0;       // elements
  int64_t view = 0;        // where it begins in `key`'s data: old files share it
};

struct TorchTensor {
  std::string name = {};  // its path: "state_dict.module.features.0.weight"
  TorchStorage storage = {};
  int64_t offset = 0;  // elements
  std::vector<int64_t> shape = {}, stride = {};

  bool contiguous() const;
  // Elements of the storage from the first that it uses to behind the last. 0 when it has none.
  int64_t reach() const;
};

// The functions and classes that a file of weights may name: those that make tensors, and plain values beside
// them.
bool allowed_in_torch_file(std::string_view global);

// All tensors under the pickle's root, each checked to lie in its storage. `where` names the file in errors
// (data).
std::vector<TorchTensor> find_torch_tensors(const Pickle& pickle, const std::string& where);
// All storages the pickle names, those of no tensor too.
std::vector<TorchStorage> find_torch_storages(const Pickle& pickle, const std::string& where);

}  // namespace millrace
