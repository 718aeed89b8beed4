// What scripts rely on of millrace-data.
#include <signal.h>

#include <fstream>

#include "data/encode.h"
#include "data/synthetic.h"
#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

Result tool(const std::vector<std::string>& arguments) { return Process("millrace-data", arguments).wait(); }

Result synth(const fs::path& out, const std::string& more = "") {
  return tool(join({"synth", "--out", out.string(), "--threads", "2"}, words(more)));
}

void require_synth(const fs::path& out, const std::string& more = "") {
  const Result result = synth(out, more);
  INFO(result.err);
  REQUIRE(result.code == 0);
}

bool same_pixels(const Image& a, const Image& b) { return a.size() == b.size() && a.pixels == b.pixels; }

json json_of(const fs::path& file) { return json::parse(bytes_of(file)); }

}  // namespace

TEST_CASE("synth writes the pixels and flows that synthetic: trains on, as PNG and as PPM") {
  const std::string options = "size=48x64,layers=2,max_shift=3";
  const SyntheticSource source(parse_synthetic("synthetic:frames=3,seed=7,split=val," + options));
  const TemporaryFolder folder;
  for (const char* format : {"png", "ppm"}) {
    const fs::path out = folder / format;
    require_synth(out, std::string("--clips 3 --frames 3 --seed 7 --split val --options ") + options +
                           " --format " + format);
    const SourcePtr files = open_source({.spec = out.string()});
    REQUIRE(files->size() == 3);
    REQUIRE(files->has_truth());
    for (int64_t item = 0; item < 3; ++item) {
      CHECK(files->name(item) == source.name(item));
      REQUIRE(files->length(item) == 3);
      const ClipRange whole{.item = item, .first = 0, .count = 3, .want_truth = true};
      const Clip clip = files->read(whole), expected = source.read(whole);
      for (size_t k = 0; k < 3; ++k) CHECK(same_pixels(clip.frames[k], expected.frames[k]));
      REQUIRE(clip.truth.size() == 2);
      for (size_t k = 0; k < 2; ++k) CHECK((clip.truth[k].uv == expected.truth[k].uv));
    }
    CHECK(names_in(out) == std::vector<std::string>{"clips.txt", "synthetic.json", "synthetic_val_00000",
                                                    "synthetic_val_00001", "synthetic_val_00002"});
    const std::string extension = std::string(".") + format;
    CHECK(names_in(out / "synthetic_val_00001") ==
          std::vector<std::string>{"flow00001.flo", "flow00002.flo", "img_00001" + extension,
                                   "img_00002" + extension, "img_00003" + extension});
    CHECK(bytes_of(out / "clips.txt") ==
          "synthetic_val_00000 3 0\nsynthetic_val_00001 3 0\nsynthetic_val_00002 3 0\n");
    const json description = json_of(out / "synthetic.json");
    CHECK(description["complete"] == true);
    CHECK(description["clips"] == 3);
    CHECK(description["height"] == 48);
    CHECK(description["images"] == format);
    CHECK(parse_synthetic(description["spec"].get<std::string>()).seed == 7);
  }
  const fs::path frame = "synthetic_val_00002/img_00002.ppm";
  CHECK((bytes_of(folder / "ppm" / frame) == encode_pnm(source.read({2, 1, 1, false}).frames[0])));
}

TEST_CASE("a net measures the same on a written set as on synthetic:, true flow included") {
  const TemporaryFolder folder;
  const fs::path weights = small_run(folder, "weights");
  require_synth(folder / "set", "--clips 4 --options size=64x64,layers=1");
  std::vector<json> results;
  for (const std::string& data :
       {(folder / "set").string(), std::string("synthetic:size=64x64,layers=1,count=4")}) {
    const Result result = train(join(tiny(), {"--validate", "--json", "--weights", weights.string(), "--data",
                                              data, "--validation-clips", "4"}));
    INFO(result.err);
    REQUIRE(result.code == 0);
    results.push_back(parse_only_line(result.out));
  }
  REQUIRE(results[0].contains("epe"));
  CHECK(results[0] == results[1]);
}

TEST_CASE("synth goes on where it was stopped, adds clips, and never writes anything else over") {
  const TemporaryFolder folder;
  const fs::path out = folder / "a set";
  const auto run = [&](const std::string& more) {
    return tool(join({"synth", "--out", out.string(), "--json"}, words("--options size=16x16 " + more)));
  };
  REQUIRE(run("--clips 4").code == 0);
  const std::string whole = bytes_of(out / "synthetic_train_00002" / "img_00001.png");
  fs::remove_all(out / "synthetic_train_00002");
  fs::create_directories(out / ".synthetic_train_00002.partial");  // as a kill leaves it
  std::ofstream(out / ".synthetic_train_00002.partial" / "img_00001.png") << "half";
  CHECK(open_source({.spec = out.string()})->size() == 3);  // the half clip is no clip
  Result again = run("--clips 6");
  REQUIRE(again.code == 0);
  CHECK(parse_only_line(again.out)["written"] == 3);
  CHECK((bytes_of(out / "synthetic_train_00002" / "img_00001.png") == whole));
  CHECK_FALSE(fs::exists(out / ".synthetic_train_00002.partial"));
  CHECK(lines_of(bytes_of(out / "clips.txt")).size() == 6);
  again = run("--clips 6");
  REQUIRE(again.code == 0);
  CHECK(parse_only_line(again.out)["written"] == 0);

  require_failure(run("--clips 5"), {2, {"at least 6", "got 5"}});
  require_failure(run("--clips 6 --seed 2"), {2, {"seed=1", "seed=2"}});
  require_failure(run("--clips 6 --format ppm"), {2, {"\"png\"", "\"ppm\""}});
  CHECK(json_of(out / "synthetic.json")["complete"] == true);

  fs::create_directories(folder / "mine");
  std::ofstream(folder / "mine/thesis.txt") << "precious";
  require_failure(synth(folder / "mine"), {2, {"mine", "new or empty", "Nothing is overwritten"}});
  require_failure(synth(folder / "mine/thesis.txt"), {2, {"thesis.txt"}});
  CHECK(names_in(folder / "mine") == std::vector<std::string>{"thesis.txt"});
  std::ofstream(folder / "mine/synthetic.json") << "{}";
  require_failure(synth(folder / "mine"), {3, {"synthetic.json", "something else"}});
  const std::string format = R"({"format": "millrace synthetic set 1", )";
  for (const std::string& rest :
       {std::string(), format + R"("spec": 1})", format + R"("spec": "synthetic:layers=99"})",
        format + R"("spec": "textures"})", std::string(R"({"format": 1})")}) {
    std::ofstream(folder / "mine/synthetic.json") << rest;
    require_failure(synth(folder / "mine"), {3, {"mine/synthetic.json]", "Choose another --out"}});
  }
}

TEST_CASE("a signal stops synth between clips, with 75, and the same command ends it") {
  const TemporaryFolder folder;
  const std::vector<std::string> arguments =
      words("synth --clips 400 --options size=256x256 --threads 1 --out " + (folder / "set").string());
  Process process("millrace-data", arguments);
  while (process.running() && names_in(folder / "set").size() < 4) {
  }
  process.kill(SIGINT);
  const Result stopped = process.wait();
  INFO(stopped.err);
  REQUIRE(stopped.code == 75);
  CHECK_THAT(stopped.err, Contains("of 400 clips"));
  CHECK_FALSE(fs::exists(folder / "set/clips.txt"));
  CHECK(json_of(folder / "set/synthetic.json")["complete"] == false);
  for (const std::string& name : names_in(folder / "set")) {
    if (fs::is_directory(folder / "set" / name)) CHECK(names_in(folder / "set" / name).size() == 3);
  }
}

TEST_CASE("synth: what cannot be meant, and a place that cannot be written") {
  const TemporaryFolder folder;
  const fs::path out = folder / "set";
  require_failure(synth(out, "--options size=16"), {2, {"size", "16"}});
  require_failure(synth(out, "--options colour=red"), {2, {"colour", "layers"}});
  require_failure(synth(out, "--options layers=99"), {2, {"layers", "99"}});
  require_failure(synth(out, "--frames 1"), {2, {"--frames", "got 1"}});
  require_failure(synth(out, "--clips 0"), {2, {"--clips", "0"}});
  require_failure(synth(out, "--clips many"), {2, {"--clips", "many"}});
  require_failure(synth(out, "--split a/b"), {2, {"--split", "a/b"}});
  require_failure(synth(out, "--format gif"), {2, {"--format", "gif"}});
  require_failure(synth(out, "--format jpg --quality 0"), {2, {"--quality", "0"}});
  require_failure(synth(out, "--threads -1"), {2, {"--threads", "-1"}});
  require_failure(tool({"synth"}), {2, {"--out"}});
  require_failure(tool({}), {2, {"millrace-data --help"}});
  require_failure(tool({"paint"}), {2, {"paint"}});
  CHECK_FALSE(fs::exists(out));
  require_failure(synth("/proc/set"), {1, {"/proc/set"}});
  require_failure(synth(out, "--clips 100000000 --options size=4096x4096"), {1, {"free"}});
}

TEST_CASE("help of the tool and of its commands comes with examples and 0") {
  for (const std::vector<std::string>& arguments : {words("--help"), words("synth --help")}) {
    const Result result = tool(arguments);
    CHECK(result.code == 0);
    CHECK_THAT(result.out, Contains("example") && Contains("millrace-data synth --out"));
    CHECK(result.err.empty());
  }
}
