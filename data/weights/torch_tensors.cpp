#include "data/weights/torch_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/safetensors.h"
#include "data/weights/text.h"

namespace millrace {
namespace {

using Kind = PickleItem::Kind;

constexpr std::pair<std::string_view, std::string_view> kStorages[] = {
    {"torch.FloatStorage", "F32"},     {"torch.DoubleStorage", "F64"}, {"torch.HalfStorage", "F16"},
    {"torch.BFloat16Storage", "BF16"}, {"torch.LongStorage", "I64"},   {"torch.IntStorage", "I32"},
    {"torch.ShortStorage", "I16"},     {"torch.CharStorage", "I8"},    {"torch.ByteStorage", "U8"},
    {"torch.BoolStorage", "BOOL"}};

// Beside storages. Those behind the first four make no tensor; what they would make is passed over.
constexpr std::array<std::string_view, 22> kAllowed = {"torch._utils._rebuild_tensor_v2",
                                                       "torch._utils._rebuild_tensor",
                                                       "torch._utils._rebuild_parameter",
                                                       "torch.nn.parameter.Parameter",
                                                       "collections.OrderedDict",
                                                       "collections.defaultdict",
                                                       "collections.Counter",
                                                       "torch.Size",
                                                       "torch.device",
                                                       "torch.float32",
                                                       "torch.float64",
                                                       "torch.float16",
                                                       "torch.bfloat16",
                                                       "torch.int64",
                                                       "numpy.dtype",
                                                       "numpy.core.multiarray.scalar",
                                                       "numpy._core.multiarray.scalar",
                                                       "numpy.core.multiarray._reconstruct",
                                                       "numpy._core.multiarray._reconstruct",
                                                       "numpy.ndarray",
                                                       "_codecs.encode",
                                                       "builtins.set"};

// A checkpoint nests a few dicts; hostile ones hold themselves, or one list a million times.
constexpr int kMaxDepth = 32;
constexpr int64_t kMaxVisits = 4'000'000;
constexpr size_t kMaxTensors = 200'000, kMaxRank = 16;
// A tensor can repeat what is stored once (stride 0), by any factor; more than this has no weight of a net.
constexpr int64_t kMaxRepeated = int64_t{1} << 24;

std::string_view dtype_of(std::string_view storage) {
  for (const auto& [name, dtype] : kStorages)
    if (name == storage) return dtype;
  return {};
}

class Finder {
 public:
  Finder(const Pickle& pickle, std::string where) : pickle_(pickle), where_(std::move(where)) {}

  std::vector<TorchTensor> find() {
    visit(pickle_.root, "", 0);
    return std::move(found_);
  }

  // The persistent id ("storage", class, key, device, elements[, (view's key, offset, size)]).
  TorchStorage storage_of(const PickleItem& item) const {
    const auto& parts = item.parts;
    if (parts.size() < 5 || pickle_.at(parts[0]).text != "storage" || pickle_.at(parts[2]).kind != Kind::text)
      broken("a storage's class, key, device and size", "something else");
    const PickleItem &type = pickle_.at(parts[1]), &count = pickle_.at(parts[4]);
    TorchStorage storage{.key = pickle_.at(parts[2]).text, .dtype = std::string(dtype_of(type.text))};
    if (type.kind != Kind::global || storage.dtype.empty())
      broken("a storage of one of PyTorch's number types", in_quotes(type.text));
    storage.count = extent_of(count, "a storage's number of elements");
    if (parts.size() == 6 && pickle_.at(parts[5]).kind == Kind::list) {
      const PickleItem& view = pickle_.at(parts[5]);
      if (view.parts.size() != 3) broken("a view's key, offset and size", "something else");
      storage.view = extent_of(pickle_.at(view.parts[1]), "a view's offset");
      if (storage.view > storage.count) broken("a view in its storage", "one behind it");
    }
    return storage;
  }

 private:
  [[noreturn]] void broken(const std::string& expected, const std::string& got) const {
    fail(ErrorKind::data, {where_, expected, got, "The pickle in this file is broken"});
  }

  int64_t extent_of(const PickleItem& item, const char* what) const {
    if (item.kind != Kind::integer || item.integer < 0)
      broken(std::string(what) + ", 0 or more",
             item.kind == Kind::integer ? std::to_string(item.integer) : "no number");
    return item.integer;
  }

  std::vector<int64_t> extents_of(const PickleItem& list, const char* what) const {
    if (list.kind != Kind::list || list.parts.size() > kMaxRank)
      broken(fmt::format("{} of at most {} axes", what, kMaxRank), "something else");
    std::vector<int64_t> extents;
    for (const PickleIndex i : list.parts) extents.push_back(extent_of(pickle_.at(i), what));
    return extents;
  }

  void visit(PickleIndex index, const std::string& path, int depth) {
    if (++visits_ > kMaxVisits || depth > kMaxDepth)
      broken("dicts and lists as a checkpoint nests them", depth > kMaxDepth ? "deeper ones" : "many more");
    const PickleItem& item = pickle_.at(index);
    const auto inside = [&](const std::string& key) { return path.empty() ? key : path + "." + key; };
    if (item.kind == Kind::dict) {
      for (size_t i = 0; i + 1 < item.parts.size(); i += 2)
        visit(item.parts[i + 1], inside(key_text(pickle_.at(item.parts[i]))), depth + 1);
    } else if (item.kind == Kind::list) {
      for (size_t i = 0; i < item.parts.size(); ++i)
        visit(item.parts[i], inside(std::to_string(i)), depth + 1);
    } else if (item.kind == Kind::call) {
      visit_call(item, path, depth);
    }
  }

  static std::string key_text(const PickleItem& key) {
    if (key.kind == Kind::integer) return std::to_string(key.integer);
    return key.kind == Kind::text ? key.text.substr(0, 1000) : "?";
  }

  void visit_call(const PickleItem& call, const std::string& path, int depth) {
    const std::string_view callee = pickle_.callee(call);
    const std::vector<PickleIndex>& arguments = pickle_.at(call.parts[1]).parts;
    if (callee == "torch._utils._rebuild_tensor_v2" || callee == "torch._utils._rebuild_tensor") {
      add(arguments, path);
    } else if (callee == "torch._utils._rebuild_parameter" || callee == "torch.nn.parameter.Parameter") {
      if (arguments.empty()) broken("a parameter's tensor", "none");
      visit(arguments[0], path, depth + 1);
    }
  }

  // (storage, offset, shape, strides, ...)
  void add(const std::vector<PickleIndex>& arguments, const std::string& path) {
    if (arguments.size() < 4 || pickle_.at(arguments[0]).kind != Kind::storage)
      broken("a tensor's storage, offset, shape and strides", "something else");
    TorchTensor tensor{.name = path.empty() ? "tensor" : path,
                       .storage = storage_of(pickle_.at(arguments[0]))};
    const std::string name = "tensor " + in_quotes(tensor.name) + "'s ";
    tensor.offset = extent_of(pickle_.at(arguments[1]), "a tensor's offset");
    tensor.shape = extents_of(pickle_.at(arguments[2]), "a tensor's shape");
    tensor.stride = extents_of(pickle_.at(arguments[3]), "a tensor's strides");
    if (tensor.shape.size() != tensor.stride.size()) broken(name + "strides, one for each axis", "others");
    check_place(tensor, name);
    if (!names_.insert(tensor.name).second)
      broken("each tensor's path once", in_quotes(tensor.name) + " twice");
    found_.push_back(std::move(tensor));
    if (found_.size() > kMaxTensors) broken("fewer tensors", "more than any checkpoint has");
  }

  void check_place(const TorchTensor& tensor, const std::string& name) const {
    const std::string expected =
        fmt::format("{}elements among the {} of its storage", name, tensor.storage.count);
    const std::string got = fmt::format("shape {}, strides {}, offset {}", shape_text(tensor.shape),
                                        shape_text(tensor.stride), tensor.offset);
    int64_t count = safetensors_dtype_bytes(tensor.storage.dtype),
            last = 0;  // no number of bytes may overflow
    for (const int64_t extent : tensor.shape)
      if (__builtin_mul_overflow(count, extent, &count)) broken(expected, got);
    count /= safetensors_dtype_bytes(tensor.storage.dtype);
    if (count == 0) return;
    bool fits = !__builtin_add_overflow(tensor.storage.view, tensor.offset, &last);
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      int64_t step = 0;
      fits = fits && !__builtin_mul_overflow(tensor.shape[i] - 1, tensor.stride[i], &step) &&
             !__builtin_add_overflow(last, step, &last);
    }
    if (!fits || last >= tensor.storage.count || count > std::max(tensor.storage.count, kMaxRepeated))
      broken(expected, got);
  }

  const Pickle& pickle_;
  const std::string where_;
  std::vector<TorchTensor> found_;
  std::set<std::string> names_;
  int64_t visits_ = 0;
};

}  // namespace

bool TorchTensor::contiguous() const {
  int64_t step = 1;
  for (size_t i = shape.size(); i > 0; --i) {
    if (shape[i - 1] != 1 && stride[i - 1] != step) return false;
    step *= shape[i - 1];
  }
  return true;
}

int64_t TorchTensor::reach() const {
  int64_t last = 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return 0;
    last += (shape[i] - 1) * stride[i];
  }
  return last + 1;
}

bool allowed_in_torch_file(std::string_view global) {
  return !dtype_of(global).empty() || std::find(kAllowed.begin(), kAllowed.end(), global) != kAllowed.end();
}

std::vector<TorchTensor> find_torch_tensors(const Pickle& pickle, const std::string& where) {
  return Finder(pickle, where).find();
}

std::vector<TorchStorage> find_torch_storages(const Pickle& pickle, const std::string& where) {
  const Finder finder(pickle, where);
  std::vector<TorchStorage> storages;
  for (const PickleItem& item : pickle.items)
    if (item.kind == Kind::storage) storages.push_back(finder.storage_of(item));
  return storages;
}

}  // namespace millrace
