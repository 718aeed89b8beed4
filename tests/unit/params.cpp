// Parameters: where they lie, what they start from, and how they come through a file.
#include "core/params.h"

#include <cmath>
#include <cstring>
#include <functional>

#include "core/rng.h"
#include "core/session.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

namespace millrace {
namespace {

using test::message_of;

using Numbers = std::vector<double>;

struct Net {
  Graph g{Dtype::f32};
  ParamStore store;
  std::unique_ptr<Device> device = make_device("cpu");
  State state{*device};

  void add(const std::string& name, Shape shape, ParamOptions options = {.stddev = .5}) {
    store.parameter(g, name, shape, options);
  }
  Numbers values(const std::string& buffer = kParams) const { return to_double(state.at(buffer)); }
  Numbers slice(size_t k) const {
    const FlatSlice& s = store.layout().slices[k];
    const Numbers all = values();
    return {all.begin() + s.offset, all.begin() + s.offset + s.shape.count()};
  }
};

Net small_net() {
  Net net;
  net.add("conv.weight", {3, 2, 4, 5});
  net.add("conv.bias", {3}, {.stddev = 0, .lr_mult = 2, .decay_mult = 0});
  net.add("deconv.weight", {2, 3, 3, 7}, {.stddev = .1, .lr_mult = .5});  // (in, kh, kw, out)
  net.add("scale", {4, 6});
  return net;
}

const std::vector<ParamStore::Part> kOnlyParams = {{kParams, ""}};

// 0, 1, 2, ... in every element of the buffer, gaps too.
template <class T> void count_up(State& state, const std::string& buffer, double from = 0) {
  std::vector<T> values(static_cast<size_t>(state.at(buffer).count()));
  for (size_t k = 0; k < values.size(); ++k) values[k] = static_cast<T>(from + static_cast<double>(k));
  state.write(buffer, 0, static_cast<int64_t>(values.size()), values.data());
}

// A file of f32 tensors, element k of each holding k.
void write_file(const std::filesystem::path& path, std::vector<TensorEntry> tensors) {
  write_safetensors(path, {.tensors = std::move(tensors)},
                    [](const TensorEntry& e, uint64_t offset, std::span<std::byte> chunk) {
                      if (e.dtype != "F32") return;
                      for (size_t k = 0; k < chunk.size() / 4; ++k) {
                        const auto value = static_cast<float>(offset / 4 + k);
                        std::memcpy(chunk.data() + 4 * k, &value, 4);
                      }
                    });
}

}  // namespace

TEST_CASE("parameters lie one after another, each on a block of its own") {
  Net net = small_net();
  const FlatLayout& layout = net.store.layout();
  REQUIRE(layout.slices.size() == 4);
  CHECK(layout.slices[0].offset == 0);
  CHECK(layout.slices[1].offset == 128);  // 120 elements before
  CHECK(layout.slices[2].offset == 192);
  CHECK(layout.slices[3].offset == 320);  // 126 before
  CHECK(layout.total == 384);
  CHECK(net.store.count() == 120 + 3 + 126 + 24);

  const Value again = net.store.parameter(net.g, "conv.bias", {3}, {});
  CHECK(net.g.info(again).state->offset == 128);
  CHECK(net.g.info(again).name == "conv.bias");
  CHECK(layout.slices.size() == 4);
  Graph other;  // another graph of the same net
  CHECK(other.info(net.store.parameter(other, "scale", {4, 6}, {})).state->offset == 320);
  CHECK_THAT(message_of([&] { net.add("conv.bias", {4}); }),
             Catch::Contains("parameter conv.bias") && Catch::Contains("(3), got (4)"));
  CHECK(layout.slices.size() == 4);
}

TEST_CASE("a parameter starts from its seed, its name and nothing else") {
  Net net = small_net();
  net.store.initialise(net.state, Dtype::f32, 5);
  Net other;  // another order, other neighbours
  other.add("before", {1000});
  other.add("scale", {4, 6});
  other.add("deconv.weight", {2, 3, 3, 7}, {.stddev = .1});
  other.add("conv.weight", {3, 2, 4, 5});
  other.store.initialise(other.state, Dtype::f32, 5);
  CHECK(net.slice(0) == other.slice(3));
  CHECK(net.slice(2) == other.slice(2));
  CHECK(net.slice(3) == other.slice(1));
  CHECK(net.slice(1) == Numbers(3, 0));

  Net seed = small_net(), name;
  seed.store.initialise(seed.state, Dtype::f32, 6);
  CHECK(seed.slice(0) != net.slice(0));
  name.add("conv2.weight", {3, 2, 4, 5});
  name.store.initialise(name.state, Dtype::f32, 5);
  CHECK(name.slice(0) != net.slice(0));

  // The same numbers in double, before they are rounded.
  Net doubles = small_net();
  doubles.store.initialise(doubles.state, Dtype::f64, 5);
  for (size_t k = 0; k < net.slice(0).size(); ++k)
    CHECK(net.slice(0)[k] == static_cast<double>(static_cast<float>(doubles.slice(0)[k])));
  // Element (o,i,p,q) of the file is number ((o I + i) kh + p) kw + q of the stream.
  const RandomStream stream = random_stream(5, "init/conv.weight");
  const uint64_t o = 2, p = 1, q = 3, i = 4;
  CHECK(doubles.slice(0)[((o * 2 + p) * 4 + q) * 5 + i] ==
        .5 * stream.normal({.step = 0, .index = static_cast<int64_t>(((o * 5 + i) * 2 + p) * 4 + q)}));
}

TEST_CASE("the Gaussian has the deviation that was asked for, and gaps are zero") {
  Net net;
  net.add("w", {50, 3, 3, 21}, {.stddev = msra(3 * 3 * 21)});
  net.add("b", {1});
  net.store.initialise(net.state, Dtype::f32, 1);
  CHECK(msra(8) == .5);
  double sum = 0, squares = 0;
  for (double v : net.slice(0)) sum += v, squares += v * v;
  const auto n = static_cast<double>(net.slice(0).size());
  CHECK(std::fabs(sum / n) < 4 * msra(189) / std::sqrt(n));
  CHECK(std::fabs(squares / n / (2.0 / 189) - 1) < 4 * std::sqrt(2 / n));
  const Numbers all = net.values();
  for (size_t k = 9450; k < 9472; ++k) CHECK(all[k] == 0);
  for (size_t k = 9473; k < all.size(); ++k) CHECK(all[k] == 0);
}

TEST_CASE("every block of 64 elements has its parameter's multipliers") {
  for (const Dtype real : {Dtype::f32, Dtype::f64}) {
    Net net = small_net();
    net.store.initialise(net.state, real, 1);
    CHECK(net.state.at(kMultipliers).dtype == real);
    CHECK(net.values(kMultipliers) == Numbers{1, 1, 1, 1, 2, 0, .5, 1, .5, 1, 1, 1});
  }
}

TEST_CASE("files hold convolutions as (O,I,kh,kw) and deconvolutions as (I,O,kh,kw)") {
  test::TemporaryFolder folder;
  Net net = small_net();
  net.store.initialise(net.state, Dtype::f32, 1);
  count_up<float>(net.state, kParams);
  net.store.save(folder / "a", net.state, kOnlyParams, {{"step", "7"}});
  const SafetensorsReader file(folder / "a");
  CHECK(file.metadata().at("step") == "7");
  CHECK(file.tensors().size() == 4);
  CHECK(file.entry("conv.weight").shape == std::vector<int64_t>{3, 5, 2, 4});
  CHECK(file.entry("deconv.weight").shape == std::vector<int64_t>{2, 7, 3, 3});
  CHECK(file.entry("conv.bias").shape == std::vector<int64_t>{3});
  CHECK(file.entry("scale").shape == std::vector<int64_t>{4, 6});
  CHECK(file.entry("scale").dtype == "F32");

  Numbers conv(120), deconv(126), scale(24);
  file.read("conv.weight", std::span<double>(conv));
  file.read("deconv.weight", std::span<double>(deconv));
  file.read("scale", std::span<double>(scale));
  // By hand: output 2, input 4, row 1, column 3. In memory ((2*2 + 1)*4 + 3)*5 + 4 = 119; in the file
  // ((2*5 + 4)*2 + 1)*4 + 3 = 119. And output 1, input 0, row 1, column 2: 70 in memory, 46 in the file.
  CHECK(conv[119] == 119);
  CHECK(conv[46] == 70);
  // Input 1, output 5, row 0, column 2: memory ((1*3 + 0)*3 + 2)*7 + 5 = 82 from 192; file ((1*7 + 5)*3 +
  // 0)*3 + 2.
  CHECK(deconv[110] == 192 + 82);
  for (size_t k = 0; k < 24; ++k) CHECK(scale[k] == 320 + static_cast<double>(k));
}

TEST_CASE("what was saved is loaded, in both types, for all buffers, gaps untouched") {
  test::TemporaryFolder folder;
  for (const Dtype real : {Dtype::f32, Dtype::f64}) {
    Net net = small_net(), other = small_net();
    for (Net* n : {&net, &other}) {
      n->store.initialise(n->state, real, n == &net ? 1 : 2);
      n->state.create("moment", real, n->store.layout().total);
    }
    real == Dtype::f64 ? count_up<double>(net.state, "moment", .1) : count_up<float>(net.state, "moment", .1);
    const std::vector<ParamStore::Part> parts = {{kParams, ""}, {"moment", "moment/"}};
    net.store.save(folder / "a", net.state, parts, {});
    const SafetensorsReader file(folder / "a");
    CHECK(file.tensors().size() == 8);
    CHECK(file.entry("moment/scale").dtype == (real == Dtype::f64 ? "F64" : "F32"));
    other.store.load(file, other.state, parts);
    CHECK(other.values() == net.values());
    const Numbers saved = net.values("moment"), loaded = other.values("moment");
    for (const FlatSlice& s : net.store.layout().slices) {
      const auto end = static_cast<size_t>(s.offset + s.shape.count());
      for (auto k = static_cast<size_t>(s.offset); k < end; ++k) CHECK(loaded[k] == saved[k]);
      for (size_t k = end; k % kUpdateBlock != 0; ++k) CHECK(loaded[k] == 0);
    }
    // A part alone, and a file of the other type.
    Net third = small_net();
    const Dtype opposite = real == Dtype::f32 ? Dtype::f64 : Dtype::f32;
    third.store.initialise(third.state, opposite, 3);
    third.store.load(file, third.state, {{kParams, "moment/"}});
    for (size_t k = 0; k < 120; ++k)
      CHECK(third.values()[k] == (opposite == Dtype::f32 ? static_cast<float>(saved[k]) : saved[k]));
  }
}

TEST_CASE("a file larger than the writer's buffer, which ends in the middle of an output's weights") {
  test::TemporaryFolder folder;
  for (const Dtype real : {Dtype::f32, Dtype::f64}) {
    // One output's weights are 3*5*40009 elements, more than 2 MiB: no chunk of 1 MiB ends where they do.
    Net net, other;
    for (Net* n : {&net, &other}) {
      n->add("odd", {7});
      n->add("w", {2, 3, 5, 40009});
      n->add("last", {3, 3, 3, 3});
      n->store.initialise(n->state, real, n == &net ? 1 : 2);
    }
    net.store.save(folder / "big", net.state, kOnlyParams, {});
    const SafetensorsReader file(folder / "big");
    other.store.load(file, other.state, kOnlyParams);
    CHECK(other.values() == net.values());
    const Numbers w = net.slice(1);
    const int64_t I = 40009;
    for (const int64_t index :
         {int64_t{0}, int64_t{262143}, int64_t{262144}, int64_t{131071}, int64_t{131072}, 15 * I,
          30 * I - 1}) {  // in the file; ends of chunks and of outputs
      const int64_t q = index % 5, p = index / 5 % 3, i = index / 15 % I, o = index / 15 / I;
      double value = 0;
      file.read_some("w", index, std::span<double>(&value, 1));
      CHECK(value == w[static_cast<size_t>(((o * 3 + p) * 5 + q) * I + i)]);
    }
  }
}

TEST_CASE("a file that does not fit is refused before anything is changed") {
  test::TemporaryFolder folder;
  Net net = small_net();
  net.store.initialise(net.state, Dtype::f32, 1);
  const Numbers before = net.values();
  auto load = [&](std::vector<TensorEntry> tensors) {
    write_file(folder / "a", std::move(tensors));
    const SafetensorsReader file(folder / "a");
    try {
      net.store.load(file, net.state, kOnlyParams);
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::data);
      CHECK(net.values() == before);
      return std::string(e.what());
    }
    return std::string("no error");
  };
  const TensorEntry conv{"conv.weight", "F32", {3, 5, 2, 4}}, bias{"conv.bias", "F32", {3}},
      deconv{"deconv.weight", "F32", {2, 7, 3, 3}}, scale{"scale", "F32", {4, 6}};
  CHECK_THAT(load({conv, bias, deconv}), Catch::Contains("a tensor 'scale'") && Catch::Contains("3 others"));
  CHECK_THAT(load({conv, bias, deconv, {"scale", "F32", {6, 4}}}),
             Catch::Contains("scale") && Catch::Contains("(4,6), got (6,4)"));
  CHECK_THAT(load({{"conv.weight", "F32", {3, 2, 4, 5}}, bias, deconv, scale}),  // the order of memory
             Catch::Contains("(3,5,2,4), got (3,2,4,5)"));
  CHECK_THAT(load({conv, bias, deconv, {"scale", "F32", {24}}}), Catch::Contains("got (24)"));
  CHECK_THAT(load({conv, bias, deconv, {"scale", "I32", {4, 6}}}),
             Catch::Contains("dtype") && Catch::Contains("I32"));
  CHECK(load({conv, {"unknown", "F32", {9}}, bias, deconv, scale}) == "no error");
  CHECK(net.slice(3)[23] == 23);
}

TEST_CASE("buffers that do not hold the parameters are refused, not overrun") {
  test::TemporaryFolder folder;
  Net net = small_net();
  net.store.initialise(net.state, Dtype::f32, 1);
  net.state.create("short", Dtype::f32, net.store.layout().total - 1);
  net.store.save(folder / "a", net.state, kOnlyParams, {});
  const SafetensorsReader file(folder / "a");
  for (const char* buffer : {"short", "none"}) {
    const Numbers before = net.values();
    CHECK_THAT(message_of([&] {
                 net.store.save(folder / "b", net.state, {{buffer, ""}}, {});
               }),
               Catch::Contains(buffer));
    CHECK_THAT(message_of([&] {
                 net.store.load(file, net.state, {{kParams, ""}, {buffer, ""}});
               }),
               Catch::Contains(buffer));
    CHECK(net.values() == before);
  }
  CHECK(!std::filesystem::exists(folder / "b"));
  Net other = small_net();
  other.state.create(kParams, Dtype::f32, 1);
  CHECK_THAT(message_of([&] { other.store.initialise(other.state, Dtype::f32, 1); }),
             Catch::Contains("state params"));
}

TEST_CASE("parameters without elements, of one element, and none at all") {
  test::TemporaryFolder folder;
  Net net, other;
  for (Net* n : {&net, &other}) {
    n->add("none", {0, 3, 3, 4});
    n->add("no channels", {4, 3, 3, 0});
    n->add("one", {1, 1, 1, 1});
    n->add("flat", {0});
    n->store.initialise(n->state, Dtype::f32, n == &net ? 1 : 2);
  }
  CHECK(net.store.layout().total == 64);
  CHECK(net.store.count() == 1);
  net.store.save(folder / "a", net.state, kOnlyParams, {});
  other.store.load(SafetensorsReader(folder / "a"), other.state, kOnlyParams);
  CHECK(other.values() == net.values());

  Net empty;
  empty.store.initialise(empty.state, Dtype::f32, 1);
  empty.store.save(folder / "b", empty.state, kOnlyParams, {});
  empty.store.load(SafetensorsReader(folder / "b"), empty.state, kOnlyParams);
  CHECK(empty.values().empty());
}

TEST_CASE(
    "weights of a fully connected layer behind an image are (O, C H W) in files, and dense everywhere") {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "net.safetensors";
  Graph g(Dtype::f32);
  ParamStore store("cpu");  // which would take convolution weights in blocks
  store.parameter(g, "fc.weight", {16, 2, 3, 8}, {.flat = true});
  CHECK(store.layout().slices[0].layout.dense());
  write_file(path, {{.name = "fc.weight", .dtype = "F32", .shape = {16, 48}}});
  const auto device = make_device("cpu");
  State state(*device);
  store.initialise(state, Dtype::f32, 1);
  store.load(SafetensorsReader(path), state, kOnlyParams);
  // Element (o,c,i,j) of the file, c outermost, at (o,i,j,c).
  const Numbers values = to_double(state.at(kParams));
  for (int64_t o : {0, 5, 15}) {
    for (int64_t c = 0; c < 8; ++c) {
      for (int64_t ij = 0; ij < 6; ++ij)
        CHECK(values[static_cast<size_t>((o * 6 + ij) * 8 + c)] == static_cast<double>(o * 48 + c * 6 + ij));
    }
  }
  const auto copy = folder.path() / "copy.safetensors";
  store.save(copy, state, kOnlyParams, {});
  const SafetensorsReader saved(copy);
  CHECK(saved.entry("fc.weight").shape == std::vector<int64_t>{16, 48});
  std::vector<float> back(16 * 48);
  saved.read("fc.weight", back);
  for (size_t k = 0; k < back.size(); ++k) CHECK(back[k] == static_cast<float>(k));

  write_file(path, {{.name = "fc.weight", .dtype = "F32", .shape = {16, 8, 2, 3}}});
  CHECK(message_of([&] { store.load(SafetensorsReader(path), state, kOnlyParams); }).find("(16,48)") !=
        std::string::npos);
}

}  // namespace millrace
