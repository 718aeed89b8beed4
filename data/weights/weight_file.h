// Files of weights from elsewhere, one interface for all: .caffemodel, PyTorch's .pth/.pt (both of its
// formats) and safetensors. All may be hostile: whatever a file says is checked against its size before
// anything is allocated for it, and nothing in it is run. Errors are ErrorKind::data, naming file and tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace millrace {

struct WeightTensor {
  std::string name = {};   // as the file has it: "conv1_1.weight", "state_dict.module.features.0.bias"
  std::string dtype = {};  // as safetensors spells it: F16, F32, I64, ...
  std::vector<int64_t> shape = {};

  int64_t count() const;
  uint64_t bytes() const;
};

class WeightFile {
 public:
  explicit WeightFile(std::filesystem::path path) : path_(std::move(path)) {}
  WeightFile(const WeightFile&) = delete;
  WeightFile& operator=(const WeightFile&) = delete;
  virtual ~WeightFile() = default;

  const std::filesystem::path& path() const { return path_; }
  // "caffemodel", "pytorch" (zip), "pytorch-stream" or "safetensors".
  virtual std::string format() const = 0;
  const std::vector<WeightTensor>& tensors() const { return tensors_; }  // in the order of the file
  const std::map<std::string, std::string>& metadata() const { return metadata_; }  // of safetensors
  // Elements [first, first + out.size()) of tensors()[tensor] in C order, whatever the file's order. Cheapest
  // when a tensor is read from its beginning to its end before the next.
  virtual void read(size_t tensor, int64_t first, std::span<double> out) const = 0;

 protected:
  std::vector<WeightTensor> tensors_;
  std::map<std::string, std::string> metadata_;

 private:
  std::filesystem::path path_;
};

using WeightFilePtr = std::unique_ptr<WeightFile>;

// By the file's content, whatever it is called. What is no file of weights is refused with what it seems to
// be.
WeightFilePtr open_weights(const std::filesystem::path& path);

// Whether a file's name or its first bytes say that it holds weights. Of a .caffemodel only the name does.
bool seems_weights(const std::filesystem::path& path);

}  // namespace millrace
