#include "core/safetensors.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using millrace::test::TemporaryFolder;
namespace fs = std::filesystem;
using Catch::Matchers::Contains;

namespace {

// A file from a header and data, wrong as they may be.
std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

// The message with which the reader refuses `bytes`; "" when it does not.
std::string refusal(const std::string& bytes) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "x.safetensors", bytes);
  try {
    const SafetensorsReader reader(folder / "x.safetensors");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::data);
    CHECK_THAT(e.what(), Contains("x.safetensors"));
    return e.what();
  }
  return "";
}

// One F32 tensor w with the given shape and offsets, as JSON text, and `data_bytes` of data.
std::string refusal_of(const std::string& shape, const std::string& offsets, size_t data_bytes) {
  return refusal(file_of(R"({"w":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}",
                         std::string(data_bytes, '\0')));
}

// Gives each tensor the bytes kept for it, in order.
TensorSource bytes_in_order(const std::vector<std::string>& data) {
  return [data, i = size_t{0}, last = std::string()](const TensorEntry& e, uint64_t offset,
                                                     std::span<std::byte> chunk) mutable {
    if (offset == 0) {
      while (data.at(i).empty()) ++i;
      last = data.at(i++);
    }
    REQUIRE(offset + chunk.size() <= last.size());
    REQUIRE(e.count() > 0);
    std::memcpy(chunk.data(), last.data() + offset, chunk.size());
  };
}

template <class T> std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <class T> std::vector<T> read_all(const SafetensorsReader& reader, const std::string& name) {
  std::vector<T> out(static_cast<size_t>(reader.entry(name).count()));
  reader.read(name, std::span(out));
  return out;
}

// A small file with a scalar, an empty tensor and metadata.
void write_small(const fs::path& path) {
  const SafetensorsContent content{.tensors = {{.name = "conv.weight", .dtype = "F32", .shape = {2, 3}},
                                               {.name = "empty", .dtype = "F64", .shape = {4, 0}},
                                               {.name = "step", .dtype = "I64", .shape = {}},
                                               {.name = "mask", .dtype = "U8", .shape = {3}}},
                                   .metadata = {{"net", "motionnet"}, {"quote", "\"\n\u00e9"}}};
  write_safetensors(path, content,
                    bytes_in_order({raw<float>({1, -2, 3.5, 0, INFINITY, 1e-40F}), "",
                                    raw<int64_t>({INT64_MIN}), raw<uint8_t>({0, 7, 255})}));
}

}  // namespace

TEST_CASE("what is written is read back") {
  const TemporaryFolder folder;
  write_small(folder / "a.safetensors");
  const SafetensorsReader reader(folder / "a.safetensors");
  REQUIRE(reader.tensors().size() == 4);
  CHECK(reader.entry("conv.weight").shape == std::vector<int64_t>{2, 3});
  CHECK(reader.entry("empty").shape == std::vector<int64_t>{4, 0});
  CHECK(reader.entry("step").shape.empty());
  CHECK(read_all<float>(reader, "conv.weight") == std::vector<float>{1, -2, 3.5, 0, INFINITY, 1e-40F});
  CHECK(read_all<double>(reader, "empty").empty());
  CHECK(read_all<int64_t>(reader, "step") == std::vector<int64_t>{INT64_MIN});
  CHECK(read_all<uint8_t>(reader, "mask") == std::vector<uint8_t>{0, 7, 255});
  CHECK(reader.metadata().at("quote") == "\"\n\u00e9");
  CHECK(reader.has("step"));
  CHECK_FALSE(reader.has("Step"));
  std::vector<float> two(2);
  reader.read_some("conv.weight", 2, std::span(two));
  CHECK(two == std::vector<float>{3.5, 0});
}

TEST_CASE("data begins at a multiple of 8 bytes, and the bytes are those of the format") {
  const TemporaryFolder folder;
  const SafetensorsContent content{.tensors = {{.name = "w", .dtype = "U8", .shape = {1}}}, .metadata = {}};
  write_safetensors(folder / "a", content, bytes_in_order({"x"}));
  const std::string expected = R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  CHECK(read_file(folder / "a", 1000) ==
        file_of(expected + std::string((8 - expected.size() % 8) % 8, ' '), "x"));
}

TEST_CASE("a file without tensors is a file") {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", {}, bytes_in_order({}));
  CHECK(SafetensorsReader(folder / "a").tensors().empty());
  CHECK(refusal(file_of("{}", "")).empty());
  CHECK_THAT(refusal(file_of("{}", "x")), Contains("expected 0 bytes of data, got 1 bytes"));
}

TEST_CASE("a tensor larger than the buffer goes through it in whole elements") {
  const TemporaryFolder folder;
  const int64_t n = 400'001;
  size_t largest = 0;
  write_safetensors(folder / "a", {.tensors = {{.name = "w", .dtype = "F64", .shape = {n}}}, .metadata = {}},
                    [&](const TensorEntry&, uint64_t offset, std::span<std::byte> chunk) {
                      largest = std::max(largest, chunk.size());
                      REQUIRE((offset % 8 == 0 && chunk.size() % 8 == 0));
                      for (size_t i = 0; i < chunk.size(); i += 8) {
                        const auto value = static_cast<double>((offset + i) / 8);
                        std::memcpy(chunk.data() + i, &value, 8);
                      }
                    });
  CHECK(largest == size_t{1} << 20);
  const auto values = read_all<float>(SafetensorsReader(folder / "a"), "w");
  for (int64_t i = 0; i < n; ++i) REQUIRE(values[static_cast<size_t>(i)] == static_cast<float>(i));
}

TEST_CASE("half precision, bfloat16 and double become float") {
  const TemporaryFolder folder;
  const SafetensorsContent content{.tensors = {{.name = "h", .dtype = "F16", .shape = {8}},
                                               {.name = "b", .dtype = "BF16", .shape = {4}},
                                               {.name = "d", .dtype = "F64", .shape = {2}},
                                               {.name = "i", .dtype = "I16", .shape = {2}}},
                                   .metadata = {}};
  write_safetensors(
      folder / "a", content,
      bytes_in_order({raw<uint16_t>({0x0000, 0x3c00, 0xc000, 0x7bff, 0x0001, 0x83ff, 0x7c00, 0xfe00}),
                      raw<uint16_t>({0x3f80, 0xc040, 0xff80, 0x0001}), raw<double>({0.1, -1e300}),
                      raw<int16_t>({-1, 300})}));
  const SafetensorsReader reader(folder / "a");
  const auto h = read_all<float>(reader, "h");
  CHECK(std::vector<float>(h.begin(), h.end() - 1) ==
        std::vector<float>{0, 1, -2, 65504, 0x1p-24F, -0x1.ff8p-15F, INFINITY});
  CHECK(std::isnan(h[7]));
  CHECK(read_all<float>(reader, "b") == std::vector<float>{1, -3, -INFINITY, 0x1p-133F});
  CHECK(read_all<float>(reader, "d") == std::vector<float>{0.1F, -INFINITY});
  CHECK(read_all<double>(reader, "d") == std::vector<double>{0.1, -1e300});
  CHECK(read_all<int64_t>(reader, "i") == std::vector<int64_t>{-1, 300});
}

TEST_CASE("reads that cannot be meant are refused with tensor, expected and got") {
  const TemporaryFolder folder;
  write_small(folder / "a.safetensors");
  const SafetensorsReader reader(folder / "a.safetensors");
  std::vector<float> six(6);
  std::vector<int64_t> whole(6);
  std::vector<uint8_t> bytes(1);
  const std::span<float> five = std::span(six).first(5);
  CHECK_THROWS_WITH(reader.read("conv.weight", five),
                    Contains("conv.weight") && Contains("5 elements") && Contains("6 of shape [2,3]"));
  CHECK_THROWS_WITH(reader.read_some("conv.weight", 2, five), Contains("5 elements from 2"));
  CHECK_THROWS_WITH(reader.read_some("conv.weight", -1, five), Contains("from -1"));
  CHECK_THROWS_WITH(reader.read_some("conv.weight", INT64_MAX, five), Contains("of shape"));
  CHECK_THROWS_WITH(reader.read("conv.weight", std::span(whole)),
                    Contains("integer dtype") && Contains("got F32"));
  CHECK_THROWS_WITH(reader.read("step", std::span(six).first(1)), Contains("got I64"));
  CHECK_THROWS_WITH(reader.read("step", std::span(bytes)), Contains("U8 or BOOL, got I64"));
  CHECK_THROWS_WITH(reader.read("conv1.weight", std::span(six)),
                    Contains("a tensor 'conv1.weight'") && Contains("4 tensors: ") && Contains("'mask'"));
  std::vector<std::byte> much(25);
  CHECK_THROWS_WITH(reader.read_bytes("conv.weight", 0, much), Contains("24 bytes in all"));
  CHECK_THROWS_WITH(reader.read_bytes("conv.weight", UINT64_MAX, std::span(much).first(2)),
                    Contains("in all"));
}

TEST_CASE("a file cut off at any byte is refused, and so is one with a byte more") {
  const TemporaryFolder folder;
  write_small(folder / "a.safetensors");
  const std::string bytes = read_file(folder / "a.safetensors", 10000);
  REQUIRE(refusal(bytes).empty());
  for (size_t n = 0; n < bytes.size(); ++n) {
    INFO("first " << n << " bytes of " << bytes.size());
    CHECK_FALSE(refusal(bytes.substr(0, n)).empty());
  }
  CHECK_FALSE(refusal(bytes + '\0').empty());
}

TEST_CASE("a file that shrinks while it is open is an error") {
  const TemporaryFolder folder;
  write_small(folder / "a.safetensors");
  const SafetensorsReader reader(folder / "a.safetensors");
  fs::resize_file(folder / "a.safetensors", fs::file_size(folder / "a.safetensors") - 1);
  std::vector<uint8_t> mask(3);
  CHECK_THROWS_WITH(reader.read("mask", std::span(mask)), Contains("'mask'") && Contains("cut"));
}

TEST_CASE("any changed byte of the header is refused or gives tensors within the file") {
  const TemporaryFolder folder;
  write_small(folder / "a.safetensors");
  const std::string good = read_file(folder / "a.safetensors", 10000);
  const size_t header_end = good.rfind('}') + 1;
  std::mt19937 random(1);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = good;
    for (int changes = 1 + static_cast<int>(random() % 3); changes > 0; --changes) {
      const char* digits = "0123456789-[]{},:\"e.";
      bytes[random() % header_end] = random() % 2 == 0 ? static_cast<char>(random()) : digits[random() % 20];
    }
    write_file_atomically(folder / "b.safetensors", bytes);
    try {
      const SafetensorsReader reader(folder / "b.safetensors");
      for (const TensorEntry& e : reader.tensors()) {
        std::vector<std::byte> data(e.bytes());
        reader.read_bytes(e.name, 0, data);
      }
    } catch (const Error& e) {
      REQUIRE(e.kind() == ErrorKind::data);
      ++refused;
    }
  }
  CHECK(refused > 1500);
}

TEST_CASE("hostile headers are refused") {
  const uint64_t huge = UINT64_MAX;
  CHECK_THAT(refusal(std::string(reinterpret_cast<const char*>(&huge), 8) + "{}"), Contains("header length"));
  const uint64_t over = 100'000'001;
  CHECK_THAT(refusal(std::string(reinterpret_cast<const char*>(&over), 8) + "{}"),
             Contains("at most 2 bytes"));
  CHECK_THAT(refusal(file_of("", "")), Contains("begins with {"));
  CHECK_THAT(refusal(file_of("[]", "")), Contains("begins with {"));
  CHECK_THAT(refusal(file_of("{", "")), Contains("JSON"));
  CHECK_THAT(refusal(file_of("{} {}", "")), Contains("JSON"));
  CHECK_THAT(refusal(file_of("{\"\xff\":1}", "")), Contains("JSON"));
  CHECK_THAT(refusal(file_of(R"({"w":)" + std::string(1'000'000, '['), "")), Contains("deep"));
  CHECK_THAT(refusal(file_of(R"({"w":1})", "")), Contains("'w'") && Contains("an object with dtype"));
  CHECK_THAT(refusal(file_of(R"({"w":{"dtype":"F32","shape":[]}})", "")), Contains("data_offsets"));
  CHECK_THAT(refusal(file_of(R"({"__metadata__":{"a":1}})", "")), Contains("__metadata__ of strings"));
  CHECK_THAT(refusal(file_of(R"({"__metadata__":"a"})", "")), Contains("__metadata__ of strings"));
  CHECK_THAT(refusal(file_of(R"({"w":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", "abcd")),
             Contains("one of BOOL") && Contains("F31"));
  CHECK_THAT(refusal(file_of(R"({"w":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", "abcd")),
             Contains("dtype"));
}

TEST_CASE("names must differ") {
  const std::string w = R"("w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  CHECK(refusal(file_of("{" + w + "}", "x")).empty());
  CHECK_THAT(refusal(file_of("{" + w + "," + w + "}", "x")), Contains("'w' twice"));
  CHECK_THAT(refusal(file_of(R"({"w":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x")),
             Contains("'dtype' twice"));
}

TEST_CASE("shapes and offsets are checked") {
  CHECK(refusal_of("[2]", "[0,8]", 8).empty());
  CHECK(refusal_of("[]", "[0,4]", 4).empty());
  CHECK(refusal_of("[0,4611686018427387904]", "[0,0]", 0).empty());
  for (const char* shape : {"[-1]", "[1.0]", "[\"2\"]", "[true]", "2", "null", "[9223372036854775808]",
                            "[1e400]", "[4611686018427387904]", "[2147483648,2147483648,2]", "[-1,-1]",
                            "[4611686018427387904,4611686018427387904,0]"}) {
    INFO(shape);
    CHECK_THAT(refusal_of(shape, "[0,4]", 4), Contains("shape") || Contains("JSON"));
  }
  for (const char* offsets :
       {"[4,0]", "[0]", "[0,4,8]", "[-4,0]", "[0.0,4.0]", "\"ab\"", "[0,18446744073709551615]"}) {
    INFO(offsets);
    CHECK_THAT(refusal_of("[1]", offsets, 4), Contains("data_offsets [begin,end]"));
  }
  CHECK_THAT(refusal_of("[2]", "[0,4]", 4), Contains("expected 8 bytes for F32 of shape [2], got 4 bytes"));
  CHECK_THAT(refusal_of("[1]", "[9223372036854775803,9223372036854775807]", 4), Contains("within 4 bytes"));
  CHECK_THAT(refusal_of("[1]", "[4,8]", 8), Contains("hole"));
  CHECK_THAT(refusal_of("[1]", "[0,4]", 8), Contains("expected 4 bytes of data, got 8"));
}

TEST_CASE("overlaps and holes between tensors are refused") {
  const auto two = [](const std::string& first, const std::string& second, size_t bytes) {
    return refusal(file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first +
                               R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}",
                           std::string(bytes, 'x')));
  };
  CHECK(two("[0,4]", "[4,8]", 8).empty());
  CHECK(two("[4,8]", "[0,4]", 8).empty());
  CHECK_THAT(two("[0,4]", "[2,6]", 6), Contains("'b'") && Contains("overlap"));
  CHECK_THAT(two("[0,4]", "[0,4]", 4), Contains("overlap"));
  CHECK_THAT(two("[0,4]", "[6,10]", 10), Contains("hole"));
}

TEST_CASE("content that cannot be written is refused before a file is made") {
  const TemporaryFolder folder;
  const auto write = [&](std::vector<TensorEntry> tensors, std::map<std::string, std::string> metadata) {
    write_safetensors(folder / "a", {.tensors = std::move(tensors), .metadata = std::move(metadata)},
                      bytes_in_order({}));
  };
  const TensorEntry w{.name = "w", .dtype = "F32", .shape = {0}};
  CHECK_THROWS_WITH(write({w, w}, {}), Contains("differ"));
  CHECK_THROWS_WITH(write({{.name = "__metadata__", .dtype = "F32", .shape = {0}}}, {}), Contains("differ"));
  CHECK_THROWS_WITH(write({{.name = "w", .dtype = "f32", .shape = {0}}}, {}), Contains("'f32'"));
  CHECK_THROWS_WITH(write({{.name = "w", .dtype = "F32", .shape = {-1}}}, {}), Contains("[-1]"));
  CHECK_THROWS_WITH(write({{.name = "w", .dtype = "F32", .shape = {INT64_MAX / 2}}}, {}), Contains("2^63"));
  CHECK_THROWS_WITH(write({w}, {{"a", "\xff"}}), Contains("UTF-8"));
  CHECK_THROWS_WITH(write({{.name = "w", .dtype = "F32", .shape = {int64_t{1} << 60}}}, {}),
                    Contains("free"));
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("a source that fails leaves the old file") {
  const TemporaryFolder folder;
  write_small(folder / "a");
  const std::string before = read_file(folder / "a", 10000);
  const SafetensorsContent content{.tensors = {{.name = "w", .dtype = "F32", .shape = {3}}}, .metadata = {}};
  const auto source = [](const TensorEntry&, uint64_t, std::span<std::byte>) {
    throw Error(ErrorKind::device, "gone");
  };
  CHECK_THROWS_WITH(write_safetensors(folder / "a", content, source), "gone");
  CHECK(read_file(folder / "a", 10000) == before);
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 1);
}
