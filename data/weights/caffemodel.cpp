#include "data/weights/caffemodel.h"

#include <fmt/format.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <set>

#include "core/error.h"
#include "data/weights/byte_range.h"
#include "data/weights/caffemodel.pb.h"
#include "data/weights/text.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using Blobs = google::protobuf::RepeatedPtrField<caffe::BlobProto>;

// NetParameter's fields of layers, and the wire types of protobuf's encoding.
constexpr uint64_t kLayers2014 = 2, kLayers2015 = 100;
enum Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// V1LayerParameter.LayerType of those that have weights and biases.
constexpr int kConvolution = 4, kInnerProduct = 14, kDeconvolution = 39;

struct Layer {
  std::string name, type;
  Blobs blobs;
};

bool is_convolution(const Layer& l) { return l.type == "Convolution" || l.type == "Deconvolution"; }

// Protobuf's way to ask for bytes.
class RangeStream : public google::protobuf::io::CopyingInputStream {
 public:
  explicit RangeStream(ByteRange& range) : range_(range) {}
  int Read(void* buffer, int size) override {
    const auto n = std::min<uint64_t>(static_cast<uint64_t>(size), range_.left());
    range_.read({static_cast<std::byte*>(buffer), n}, "a layer");
    return static_cast<int>(n);
  }

 private:
  ByteRange& range_;
};

uint64_t read_varint(ByteRange& in) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const uint8_t byte = in.read_byte("a protobuf number");
    value |= static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) return value;
  }
  fail(ErrorKind::data, {in.where(), "a protobuf number of at most 10 bytes", "a longer one",
                         "Is it a .caffemodel, and whole?"});
}

std::string type_of(int v1) {
  switch (v1) {
    case kConvolution:
      return "Convolution";
    case kDeconvolution:
      return "Deconvolution";
    case kInnerProduct:
      return "InnerProduct";
    default:
      return "of type " + std::to_string(v1);
  }
}

// The first form wrote types in small letters: "conv", "innerproduct".
std::string type_of_v0(const std::string& v0) {
  if (v0 == "conv") return "Convolution";
  return v0 == "innerproduct" ? "InnerProduct" : v0;
}

// Where a layer lies in its file.
struct LayerPlace {
  uint64_t begin = 0, end = 0;
  bool of_2015 = true;
};

template <class Message> Message parse_layer(const FileHandle& file, const fs::path& path, LayerPlace place) {
  ByteRange range(file, path, place.begin, place.end);
  const uint64_t bytes = range.left();
  if (bytes > std::numeric_limits<int>::max()) {
    fail(ErrorKind::data, {range.where(), "a layer of less than 2 GiB, as protobuf wants",
                           fmt::format("one of {} bytes", bytes), ""});
  }
  RangeStream stream(range);
  google::protobuf::io::CopyingInputStreamAdaptor adaptor(&stream);
  Message message;
  if (!message.ParseFromBoundedZeroCopyStream(&adaptor, static_cast<int>(bytes))) {
    fail(ErrorKind::data, {fmt::format("{}, byte {}", path.string(), place.begin), "a layer of Caffe",
                           "bytes that are no such protobuf message", "Is it a .caffemodel, and whole?"});
  }
  return message;
}

Layer read_layer(const FileHandle& file, const fs::path& path, LayerPlace place) {
  Layer layer;
  if (place.of_2015) {
    auto message = parse_layer<caffe::LayerParameter>(file, path, place);
    layer = {std::move(*message.mutable_name()), std::move(*message.mutable_type()), {}};
    layer.blobs.Swap(message.mutable_blobs());
    return layer;
  }
  auto message = parse_layer<caffe::V1LayerParameter>(file, path, place);
  if (message.has_layer()) {
    caffe::V0LayerParameter& v0 = *message.mutable_layer();
    layer = {std::move(*v0.mutable_name()), type_of_v0(v0.type()), {}};
    layer.blobs.Swap(v0.mutable_blobs());
    return layer;
  }
  layer = {std::move(*message.mutable_name()), type_of(message.type()), {}};
  layer.blobs.Swap(message.mutable_blobs());
  return layer;
}

std::string blob_name(const Layer& layer, int blob) {
  const bool weighs = is_convolution(layer) || layer.type == "InnerProduct";
  if (weighs && blob < 2) return layer.name + (blob == 0 ? ".weight" : ".bias");
  return fmt::format("{}.blob{}", layer.name, blob);
}

// Four extents of old become those that the blob has today: a bias (1,1,1,O) is (O), fully connected weights
// (1,1,O,I) are (O,I).
std::vector<int64_t> shape_of(const Layer& layer, int index) {
  const caffe::BlobProto& blob = layer.blobs[index];
  if (blob.has_shape()) return {blob.shape().dim().begin(), blob.shape().dim().end()};
  std::vector<int64_t> shape{blob.num(), blob.channels(), blob.height(), blob.width()};
  const bool kernel = index == 0 && is_convolution(layer);
  const size_t keep = kernel ? 4 : index == 0 && layer.type == "InnerProduct" ? 2 : 1;
  while (shape.size() > keep && shape.front() == 1) shape.erase(shape.begin());
  return shape;
}

class CaffeFile : public WeightFile {
 public:
  explicit CaffeFile(const fs::path& path) : WeightFile(path), file_(open_for_reading(path)) {
    ByteRange in(file_, path, 0, file_size_of(path));
    std::set<std::string> names;
    while (in.left() > 0) {
      const uint64_t tag = read_varint(in);
      const uint64_t field = tag >> 3;
      const auto wire = static_cast<Wire>(tag & 7);
      if (wire != kBytes || (field != kLayers2014 && field != kLayers2015)) {
        skip(in, wire);
        continue;
      }
      LayerPlace place{.of_2015 = field == kLayers2015};
      const uint64_t length = read_varint(in);
      place.begin = in.at();
      in.skip(length, "a layer");
      place.end = in.at();
      add_layer(place, &names);
    }
  }

  std::string format() const override { return "caffemodel"; }

  void read(size_t tensor, int64_t first, std::span<double> out) const override {
    const Place& place = places_.at(tensor);
    if (!layer_ || layer_begin_ != place.layer.begin) {
      layer_.reset();  // before the next comes, so that only one is held
      layer_ = read_layer(file_, path(), place.layer);
      layer_begin_ = place.layer.begin;
    }
    const caffe::BlobProto* blob = place.blob < layer_->blobs.size() ? &layer_->blobs[place.blob] : nullptr;
    const int64_t count = tensors_[tensor].count();
    if (blob == nullptr || std::max(blob->data_size(), blob->double_data_size()) != count)
      fail(ErrorKind::data, {path().string(), "the layers it had when it was opened", "others", ""});
    if (blob->data_size() > 0) {
      std::copy_n(blob->data().begin() + first, out.size(), out.begin());
    } else {
      std::copy_n(blob->double_data().begin() + first, out.size(), out.begin());
    }
  }

 private:
  struct Place {
    LayerPlace layer;
    int blob = 0;
  };

  static void skip(ByteRange& in, Wire wire) {
    const char* what = "a protobuf field";
    if (wire == kVarint) {
      read_varint(in);
    } else if (wire == kFixed64) {
      in.skip(8, what);
    } else if (wire == kFixed32) {
      in.skip(4, what);
    } else if (wire == kBytes) {
      in.skip(read_varint(in), what);
    } else {
      fail(ErrorKind::data,
           {in.where(), "a field of protobuf", fmt::format("wire type {}", static_cast<int>(wire)),
            "Is it a .caffemodel, and whole?"});
    }
  }

  void add_layer(LayerPlace place, std::set<std::string>* names) {
    const Layer layer = read_layer(file_, path(), place);
    for (int i = 0; i < layer.blobs.size(); ++i) {
      const caffe::BlobProto& blob = layer.blobs[i];
      const bool doubles = blob.double_data_size() > 0;
      WeightTensor tensor{blob_name(layer, i), doubles ? "F64" : "F32", shape_of(layer, i)};
      const std::string where = path().string() + ", layer " + in_quotes(layer.name);
      const int64_t values = doubles ? blob.double_data_size() : blob.data_size();
      int64_t count = 1;
      bool fits = true;
      for (const int64_t extent : tensor.shape)
        fits = fits && extent >= 0 && !__builtin_mul_overflow(count, extent, &count);
      if (!fits || count != values || (doubles && blob.data_size() > 0)) {
        fail(ErrorKind::data,
             {where, fmt::format("as many values as shape {} says", shape_text(tensor.shape)),
              fmt::format("{} floats and {} doubles", blob.data_size(), blob.double_data_size()),
              "Blobs without their data come from a .prototxt: give the .caffemodel"});
      }
      if (!names->insert(tensor.name).second)
        fail(ErrorKind::data, {where, "each layer's name once", in_quotes(tensor.name) + " twice", ""});
      tensors_.push_back(std::move(tensor));
      places_.push_back({place, i});
    }
  }

  FileHandle file_;
  std::vector<Place> places_;           // of each tensor
  mutable std::optional<Layer> layer_;  // the one that was read last
  mutable uint64_t layer_begin_ = 0;
};

}  // namespace

WeightFilePtr open_caffemodel(const fs::path& path) { return std::make_unique<CaffeFile>(path); }

bool begins_like_caffemodel(std::string_view front) {
  // The net's name or its first layer; 0xa2 0x06 is the tag of field 100.
  if (front.size() < 2) return false;
  const auto first = static_cast<uint8_t>(front[0]);
  return first == 0x0a || first == 0x12 || (first == 0xa2 && front[1] == 6);
}

}  // namespace millrace
