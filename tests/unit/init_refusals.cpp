// --init: files that fit in part or not at all, and what is said of them before anything is changed.
#include "apps/actions/init.h"
#include "tests/unit/init_net.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Contains;

namespace fs = std::filesystem;

TEST_CASE("a file that ends before the fully connected layers gives its convolutions") {
  const TemporaryFolder folder;
  const StreamSpec spec = narrow(StreamKind::spatial);
  const Net from(spec, 5);
  from.save(folder / "file");
  const std::vector<std::string> fc = {"spatial.fc6", "spatial.fc7", "spatial.fc8"};
  for (size_t first = 0; first < 3; ++first) {
    const std::vector<std::string> gone(fc.begin() + static_cast<int64_t>(first), fc.end());
    rewrite(folder / "file", folder / "trunk", without(gone));
    Net net(spec);
    const auto said = net.init({{"spatial", folder / "trunk"}});
    CHECK_THAT(said[0], Contains("fc8 not in the file: started anew"));
    CHECK(changed(Net(spec).values(), net.values()).size() == 32 - 2 * gone.size());
  }
  // A gap is something else.
  Net net(spec);
  rewrite(folder / "file", folder / "gap", without({"spatial.fc7"}));
  CHECK_THAT(refusal(net, {{"spatial", folder / "gap"}}),
             Contains("30 tensors that fit (conv1_1, ") && Contains("without fc7"));
  rewrite(folder / "file", folder / "gap", without({"spatial.fc8.bias"}));
  CHECK_THAT(refusal(net, {{"spatial", folder / "gap"}}), Contains("without fc8.bias"));
  rewrite(folder / "file", folder / "gap", without({"spatial.conv3_2"}));
  CHECK_THAT(refusal(net, {{"spatial", folder / "gap"}}), Contains("without conv3_2"));
}

TEST_CASE("a file of another network is refused with what matched and what did not") {
  const TemporaryFolder folder;
  const StreamSpec spec = narrow(StreamKind::temporal);
  Net net(spec);
  {
    StreamSpec other = spec;
    other.input = {96, 96};
    Net(other, 5).save(folder / "file");
    CHECK_THAT(refusal(net, {{.path = folder / "file"}}),
               Contains("31 tensors that fit (conv1_1") &&
                   Contains("temporal.fc6.weight of shape (64,72), not (64,32) (it is for an input of 96x96, "
                            "this network's is 64x64)"));
  }
  {
    StreamSpec other = spec;
    other.flows = 5;
    Net(other, 5).save(folder / "file");
    CHECK_THAT(refusal(net, {{"temporal", folder / "file"}}),
               Contains("temporal.conv1_1.weight of shape (1,10,3,3), not (1,4,3,3) (it is for 5 flows)"));
  }
  {
    StreamSpec other = spec;
    other.channels = 1. / 32;
    Net(other, 5).save(folder / "file");
    CHECK_THAT(refusal(net, {{"temporal", folder / "file"}}),
               Contains("--channels") && Contains("more such"));
  }
  Net(spec, 5).save(folder / "file");
  rewrite(folder / "file", folder / "extra", {.name = [](const std::string& name) {
            return name == "temporal.fc7.weight" ? "temporal.fc7_1.weight" : name;
          }});
  CHECK_THAT(refusal(net, {{"temporal", folder / "extra"}}),
             Contains("without fc7.weight") && Contains("besides fc7_1.weight"));
  rewrite(folder / "file", folder / "bare", {.name = [](const std::string& name) { return name.substr(9); }});
  CHECK_THAT(refusal(net, {{"temporal", folder / "bare"}}),
             Contains("32 tensors of other names") && Contains("millrace-data import"));
}

TEST_CASE("broken files, and weights that are no numbers, are refused before anything is changed") {
  const TemporaryFolder folder;
  const StreamSpec spec = narrow(StreamKind::stacked);
  Net(spec, 5).save(folder / "file");
  Net(spec, 6).save(folder / "good");
  Net net(spec);
  CHECK_THAT(refusal(net, {{.path = folder / "none"}}), Contains("nothing there"));
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    rewrite(folder / "file", folder / "bad", {.values = [&](const std::string& name, Numbers& values) {
              if (name == "temporal.fc7.weight") values[7] = bad;
            }});
    CHECK_THAT(refusal(net, {{"motionnet", folder / "good"}, {"temporal", folder / "bad"}}),
               Contains("temporal.fc7.weight") && Contains("as element 7"));
  }
  // Not in what is taken.
  CHECK(net.init({{"motionnet", folder / "bad"}}).size() == 1);
  for (const double part : {.1, .5, .999}) {
    fs::copy_file(folder / "file", folder / "cut", fs::copy_options::overwrite_existing);
    fs::resize_file(folder / "cut",
                    static_cast<uintmax_t>(part * static_cast<double>(fs::file_size(folder / "file"))));
    CHECK(refusal(net, {{.path = folder / "cut"}}) != "no error");
  }
  // Metadata that say something else are no reason to guess.
  rewrite(folder / "file", folder / "plain", {.described = false});
  const SafetensorsReader plain(folder / "plain");
  SafetensorsContent content{.tensors = plain.tensors(), .metadata = {{"stream.temporal", "{}"}}};
  write_safetensors(folder / "odd", content,
                    [&](const TensorEntry& e, uint64_t offset, std::span<std::byte> chunk) {
                      plain.read_bytes(e.name, offset, chunk);
                    });
  CHECK_THAT(refusal(net, {{"temporal", folder / "odd"}}), Contains("metadata stream.temporal"));
}

TEST_CASE("weights that were trained on other numbers are taken, and it is told") {
  const TemporaryFolder folder;
  StreamSpec spec = narrow(StreamKind::spatial);
  Net(spec, 5).save(folder / "file");
  spec.mean = {1, 2, 3};
  Net net(spec);
  CHECK_THAT(net.init({{.path = folder / "file"}})[0],
             Contains("trained with the mean 104, 117, 123, this stream subtracts 1, 2, 3"));
  StreamSpec flow = narrow(StreamKind::temporal);
  Net(flow, 5).save(folder / "file");
  flow.flow_bound = 15;
  Net other(flow);
  CHECK_THAT(other.init({{.path = folder / "file"}})[0],
             Contains("up to 20 pixels, this stream's is up to 15"));
}

TEST_CASE("the forms of --init, FILE and PART=FILE") {
  const TemporaryFolder folder;
  CHECK(parse_init("a/b.safetensors").part.empty());
  CHECK(parse_init("a/b.safetensors").path == "a/b.safetensors");
  CHECK(parse_init("motionnet=runs/a=b").part == "motionnet");
  CHECK(parse_init("motionnet=runs/a=b").path == "runs/a=b");
  CHECK_THAT(message_of([] { parse_init("motonet=x"); }), Contains("motionnet, temporal or spatial"));
  CHECK_THAT(message_of([] { parse_init("temporal="); }), Contains("a file behind '='"));
  CHECK_THAT(message_of([] { parse_init(""); }), Contains("nothing"));
  const std::string file = folder / "a=b";
  fs::create_directory(file);
  CHECK(parse_init(file).path == file);
  Net net(narrow(StreamKind::spatial));
  const Values before = net.values();
  CHECK(net.init({}).empty());
  CHECK(net.values() == before);
}
