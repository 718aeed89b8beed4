// --init: which weights a stream takes from which file, and what it says.
#include "apps/actions/init.h"

#include "core/run_dir.h"
#include "tests/unit/init_net.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Contains;

namespace fs = std::filesystem;

TEST_CASE("a file gives all its parts, and a part alone only that") {
  const TemporaryFolder folder;
  const Net from(narrow(StreamKind::stacked), 5);
  from.save(folder / "file");
  const Values all = from.values();

  Net whole(narrow(StreamKind::stacked));
  const auto said = whole.init({{.path = folder / "file"}});
  CHECK(whole.values() == all);
  REQUIRE(said.size() == 2);
  CHECK_THAT(said[0], Contains("motionnet from " + (folder / "file").string() + ": ") &&
                          Contains("conv1, conv2") && Contains("upsample_flow3to2"));
  CHECK_THAT(said[1], Contains("temporal from") && Contains("32 tensors, conv1_1, conv1_2") &&
                          Contains("fc6, fc7, fc8") && !Contains("anew"));

  for (const std::string part : {"motionnet", "temporal"}) {
    Net net(narrow(StreamKind::stacked));
    const Values before = net.values();
    CHECK(net.init({{part, folder / "file"}}).size() == 1);
    for (const auto& [name, values] : net.values()) {
      INFO(name);
      CHECK(values == (name.starts_with(part + ".") ? all : before).at(name));
    }
  }
  // Frozen parameters too; and from a run, which means its latest checkpoint.
  const RunDir run = [&] {
    RunDir made = RunDir::create(folder / "run");
    made.save_checkpoint(1, [&](const fs::path& to) { from.save(to / kModelFile); });
    return made;
  }();
  for (const fs::path& path : {run.path(), run.latest().value().path}) {
    Net frozen(narrow(StreamKind::stacked), 1, {{"motionnet.*", 0}});
    frozen.init({{.path = path}});
    CHECK(frozen.values() == all);
  }
}

TEST_CASE("parts come from several files, and a named one goes before") {
  const TemporaryFolder folder;
  const Net a(narrow(StreamKind::stacked), 5), b(narrow(StreamKind::stacked), 6),
      flow(narrow(StreamKind::temporal), 7);
  a.save(folder / "a");
  b.save(folder / "b");
  flow.save(folder / "flow");
  const Values of_a = a.values(), of_b = b.values(), of_flow = flow.values();
  Net net(narrow(StreamKind::stacked));
  net.init({{.path = folder / "a"}, {"motionnet", folder / "b"}});
  for (const auto& [name, values] : net.values())
    CHECK(values == (name.starts_with("motionnet.") ? of_b : of_a).at(name));
  // A temporal stream of stored flow under MotionNet: two-stage, then stacked.
  net.init({{"temporal", folder / "flow"}, {"motionnet", folder / "a"}});
  for (const auto& [name, values] : net.values())
    CHECK(values == (name.starts_with("motionnet.") ? of_a : of_flow).at(name));

  CHECK_THAT(refusal(net, {{"temporal", folder / "a"}, {"temporal", folder / "b"}}, ErrorKind::usage),
             Contains("--init temporal=") && Contains("one file for temporal"));
  CHECK_THAT(refusal(net, {{.path = folder / "a"}, {.path = folder / "b"}}, ErrorKind::usage),
             Contains("one file for motionnet"));
  Net spatial(narrow(StreamKind::spatial));
  CHECK_THAT(refusal(spatial, {{"motionnet", folder / "a"}}, ErrorKind::usage),
             Contains("a part of a spatial stream: spatial"));
  CHECK_THAT(refusal(spatial, {{.path = folder / "a"}}),
             Contains("weights of a spatial stream") && Contains("import"));
}

TEST_CASE("weights of a MotionNet alone, by its own metadata or by none, go under a stream") {
  const TemporaryFolder folder;
  const StreamSpec spec = narrow(StreamKind::stacked);
  const Net from(spec, 5);
  from.save(folder / "file");
  rewrite(folder / "file", folder / "motionnet",
          {.name = [](const std::string& name) { return name.starts_with("motionnet.") ? name : ""; },
           .described = false});
  Net net(spec);
  const auto said = net.init({{.path = folder / "motionnet"}});
  CHECK(said.size() == 1);
  for (const std::string& name : changed(Net(spec).values(), net.values()))
    CHECK(name.starts_with("motionnet."));
  CHECK(net.values().at("motionnet.conv2.weight") == from.values().at("motionnet.conv2.weight"));

  StreamSpec longer = spec;
  longer.flows = 3;
  longer.motionnet.frames = 4;
  Net other(longer);
  CHECK_THAT(refusal(other, {{"motionnet", folder / "motionnet"}}),
             Contains("motionnet.conv1.weight of shape (3,9,7,7), not (3,12,7,7) (it is for 3 frames)"));
  StreamSpec full = spec;
  full.motionnet.kind = MotionNetKind::full;
  Net deeper(full);
  CHECK_THAT(refusal(deeper, {{"motionnet", folder / "motionnet"}}),
             Contains("--net motionnet") && Contains("--net tiny-motionnet"));
}

TEST_CASE("spatial weights become temporal ones: conv1_1 is averaged over colours and repeated") {
  const TemporaryFolder folder;
  const Net from(narrow(StreamKind::spatial), 5);
  from.save(folder / "file");
  const Values rgb = from.values();
  const auto kind = GENERATE(StreamKind::temporal, StreamKind::stacked);
  Net net(narrow(kind));
  const Values before = net.values();
  const auto said = net.init({{"temporal", folder / "file"}});
  REQUIRE(said.size() == 1);
  CHECK_THAT(said[0], Contains("conv1_1 averaged over its 3 colours, for each of 4 channels"));
  const Values after = net.values();
  // (1,3,3,3) -> (1,4,3,3): of 64 filters there is one.
  const Numbers &colours = rgb.at("spatial.conv1_1.weight"), &flows = after.at("temporal.conv1_1.weight");
  REQUIRE(colours.size() == 27);
  REQUIRE(flows.size() == 36);
  for (size_t c = 0; c < 4; ++c) {
    for (size_t k = 0; k < 9; ++k)
      CHECK(flows[9 * c + k] == Approx((colours[k] + colours[9 + k] + colours[18 + k]) / 3).epsilon(1e-6));
  }
  for (const auto& [name, values] : after) {
    INFO(name);
    if (name.starts_with("motionnet."))
      CHECK(values == before.at(name));
    else if (name != "temporal.conv1_1.weight")
      CHECK(values == rgb.at("spatial" + name.substr(8)));
  }
  // Without the word the file is refused, and says how.
  CHECK_THAT(refusal(net, {{.path = folder / "file"}}), Contains("--init temporal=FILE"));
  // The other way there is no such thing.
  Net(narrow(StreamKind::temporal), 6).save(folder / "temporal");
  Net spatial(narrow(StreamKind::spatial));
  CHECK_THAT(refusal(spatial, {{"spatial", folder / "temporal"}}), Contains("tensors named spatial.<layer>"));
}

TEST_CASE("several filters are averaged each for itself") {
  const TemporaryFolder folder;
  StreamSpec spec = narrow(StreamKind::spatial);
  spec.channels = 1. / 16;  // 4 filters
  const Net from(spec, 5);
  from.save(folder / "file");
  spec.kind = StreamKind::temporal;
  Net net(spec);
  net.init({{"temporal", folder / "file"}});
  const Numbers colours = from.values().at("spatial.conv1_1.weight"),
                flows = net.values().at("temporal.conv1_1.weight");
  REQUIRE(flows.size() == 4 * 4 * 9);
  for (size_t o = 0; o < 4; ++o) {
    for (size_t c = 0; c < 4; ++c) {
      for (size_t k = 0; k < 9; ++k) {
        const size_t at = 27 * o + k;
        CHECK(flows[(4 * o + c) * 9 + k] ==
              Approx((colours[at] + colours[at + 9] + colours[at + 18]) / 3).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("with other classes the last layer starts anew, which is told") {
  const TemporaryFolder folder;
  const auto classes = GENERATE(std::vector<std::string>{"hit", "kick", "run", "sit"},
                                std::vector<std::string>{"hit", "kick", "walk"},
                                std::vector<std::string>{"kick", "hit", "run"});
  StreamSpec spec = narrow(StreamKind::temporal);
  const StreamSpec ours = spec;
  spec.classes = classes;
  const Net from(spec, 5);
  from.save(folder / "file");
  Net net(ours);
  const Values before = net.values();
  const auto said = net.init({{.path = folder / "file"}});
  REQUIRE(said.size() == 1);
  CHECK_THAT(said[0], Contains("30 tensors") && Contains("fc8 starts anew"));
  CHECK_THAT(said[0], Contains(classes.size() == 4         ? "4 classes, not 3"
                               : classes.front() == "kick" ? "in another order"
                                                           : "'walk'"));
  for (const auto& [name, values] : net.values()) {
    INFO(name);
    CHECK(values == (name.starts_with("temporal.fc8.") ? before : from.values()).at(name));
  }
  // A file that names no classes gives its last layer where the number fits.
  rewrite(folder / "file", folder / "nameless", {.described = false});
  Net again(ours);
  const auto told = again.init({{.path = folder / "nameless"}});
  CHECK((again.values().at("temporal.fc8.bias") == from.values().at("temporal.fc8.bias")) ==
        (classes.size() == 3));
  CHECK_THAT(told[0], Contains(classes.size() == 3 ? "32 tensors" : "4 classes, not 3"));
}

TEST_CASE("a fresh last layer is a Gaussian of 0.001, and its biases are 0") {
  StreamSpec spec = narrow(StreamKind::temporal);
  spec.channels = .25;
  Graph g;
  ParamStore params("cpu");
  stream(g, params, g.input("clip", clip_spec(spec, 1)), spec);
  const auto device = make_device("cpu");
  State state(*device);
  params.initialise(state, Dtype::f32, 3);
  const TemporaryFolder folder;
  params.save(folder / "file", state, {{kParams, ""}}, {});
  const SafetensorsReader file(folder / "file");
  Numbers weights(3 * 1024), biases(3);
  file.read("temporal.fc8.weight", std::span(weights));
  file.read("temporal.fc8.bias", std::span(biases));
  double squares = 0;
  for (const float w : weights) squares += w * w;
  CHECK(std::sqrt(squares / static_cast<double>(weights.size())) == Approx(.001).epsilon(.05));
  CHECK(biases == Numbers(3, 0));
}
