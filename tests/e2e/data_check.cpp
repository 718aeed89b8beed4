// What scripts rely on of millrace-data check and inspect.
#include <signal.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <thread>

#include "data/video.h"
#include "tests/catch.h"
#include "tests/e2e/support/scene.h"
#include "tests/unit/avi.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

Result tool(const std::vector<std::string>& arguments) { return Process("millrace-data", arguments).wait(); }

// The result of `check --json`, which exits with `code`.
json check(const fs::path& data, int code, const std::string& more = "") {
  const Result result = tool(join({"check", data.string(), "--json", "--threads", "2"}, words(more)));
  INFO(result.err);
  REQUIRE(result.code == code);
  json found = parse_only_line(result.out);
  CHECK(found["problems"].empty() == (code == 0));
  return found;
}

// Of the problems whose path ends like this, the reasons.
std::vector<std::string> reasons(const json& found, const std::string& path) {
  std::vector<std::string> result;
  for (const auto& p : found["problems"]) {
    const std::string where = p["path"];
    if (where.size() >= path.size() && where.compare(where.size() - path.size(), path.size(), path) == 0)
      result.push_back(p["reason"]);
  }
  return result;
}

void require_problem(const json& found, const std::string& path, const std::vector<std::string>& parts) {
  INFO(found.dump(1) << "\n" << path);
  const auto named = reasons(found, path);
  REQUIRE(named.size() == 1);
  for (const std::string& part : parts) CHECK_THAT(named[0], Contains(part));
}

void cut(const fs::path& file, uint64_t bytes) { fs::resize_file(file, bytes); }

json inspect(const fs::path& path, const std::string& more = "") {
  const Result result = tool(join({"inspect", path.string(), "--json"}, words(more)));
  INFO(result.err);
  REQUIRE(result.code == 0);
  return parse_only_line(result.out);
}

void require_table(const fs::path& path, const std::vector<std::string>& parts) {
  const Result result = tool({"inspect", path.string(), "--stats"});
  INFO(result.err);
  REQUIRE(result.code == 0);
  for (const std::string& part : parts) CHECK_THAT(result.out, Contains(part));
}

void write_text(const fs::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

// Six clips a to f of 3 frames 32x24 with flow.
fs::path clips(const TemporaryFolder& folder) {
  const fs::path set = folder / "my clips";
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) {
    write_frames(set / name, {0, 3}, {24, 32});
    Flow flow;
    flow.reshape({24, 32});
    std::fill(flow.uv.begin(), flow.uv.end(), 1.5f);
    write_flo((set / name / "flow00001.flo").string(), flow);
  }
  return set;
}

}  // namespace

TEST_CASE("check of a whole set: 0, and its counts") {
  const TemporaryFolder folder;
  const fs::path set = clips(folder);
  write_frames(set / "g", {0, 5}, {16, 16});
  const json found = check(set, 0);
  CHECK(found["complete"] == true);
  CHECK(found["clips"] == 7);
  CHECK(found["folders"] == 7);
  CHECK(found["frames"] == 23);
  CHECK(found["length"] == json{{"min", 3}, {"median", 3}, {"max", 5}});
  CHECK(found["sizes"] ==
        json::parse(R"([{"width":16,"height":16,"clips":1},{"width":32,"height":24,"clips":6}])"));
  CHECK(found["flows"] == 6);
  CHECK(std::fabs(found["max_flow"].get<double>() - 1.5 * std::sqrt(2.)) < 1e-6);
  const Result table = tool({"check", set.string()});
  CHECK(table.code == 0);
  CHECK_THAT(table.out, Contains("7 folders") && Contains("32x24 (6)") && Contains("nothing is broken"));
}

TEST_CASE("check names every broken file with its reason, and goes on after each") {
  const TemporaryFolder folder;
  const fs::path set = clips(folder);
  cut(set / "a/img_00002.png", 60);
  write_text(set / "a/img_00003.png", "");
  write_png((set / "b/img_00003.png").string(), frame(2, {24, 30}));
  fs::remove(set / "c/img_00002.png");
  cut(set / "d/flow00001.flo", 100);
  Flow flow;
  flow.reshape({24, 32});
  flow.uv[7] = NAN;
  write_flo((set / "e/flow00001.flo").string(), flow);
  flow.uv[7] = 0;
  flow.reshape({24, 31});
  write_flo((set / "e/flow00002.flo").string(), flow);
  write_flo((set / "f/flow00009.flo").string(), flow);
  write_frames(set / "g", {0, 1}, {16, 16});
  const json found = check(set, 3);
  require_problem(found, "a/img_00002.png", {"PNG"});
  require_problem(found, "a/img_00003.png", {"empty"});
  require_problem(found, "b/img_00003.png", {"30x24", "img_00001.png is 32x24"});
  require_problem(found, "my clips/c", {"frame 2", "img_00003.png"});
  require_problem(found, "d/flow00001.flo", {"32x24", "100 bytes"});
  require_problem(found, "e/flow00001.flo", {"1 of 768 pixels", "NaN"});
  require_problem(found, "e/flow00002.flo", {"31x24", "32x24"});
  require_problem(found, "f/flow00009.flo", {"no frame has this number"});
  require_problem(found, "my clips/g", {"1 frame,", "2 are needed"});
  CHECK(found["problems"].size() == 9);
  CHECK(found["broken"] == 6);  // c is no clip at all
  CHECK(found["checked"] == 6);
  CHECK(reasons(check(set, 3, "--min-frames 1"), "my clips/g").empty());
  const Result table = tool({"check", set.string()});
  CHECK(table.code == 3);
  CHECK_THAT(table.out, Contains("d/flow00001.flo: expected") && Contains("9 problems, 6 of 6 clips broken"));
}

TEST_CASE("check of lists: missing files, wrong counts, files named twice") {
  const TemporaryFolder folder;
  const fs::path set = clips(folder);
  write_text(set / "good.txt", "a 3 0\r\nb 3 1\r\n");
  CHECK(check(set / "good.txt", 0)["clips"] == 2);
  write_text(set / "bad.txt", "a 3 0\nb 4 1\nnone 3 1\n./a 3 2\nc 3 0\n");
  const json found = check(set / "bad.txt", 3);
  CHECK(found["clips"] == 3);
  require_problem(found, "my clips/b", {"has 3 frames", "list says 4"});
  require_problem(found, "bad.txt:3", {"\"none\"", "not below"});
  require_problem(found, "bad.txt:4", {"line 1"});
  CHECK(found["problems"].size() == 3);

  const fs::path moved = folder / "list.txt";
  write_text(moved, "a 3 0\n");
  const std::vector<std::string> rooted = {"check", moved.string(), "--data-root", set.string()};
  CHECK(tool(rooted).code == 0);
  CHECK(tool({"check", moved.string()}).code == 3);
  write_text(moved, "a 3 0\nb\n\x01\x02 3 0\n");
  CHECK(tool(rooted).code == 3);
}

TEST_CASE("check decodes videos: their frames and rates, and what is damaged") {
  if (!video_built_in()) return;
  const TemporaryFolder folder;
  const fs::path set = folder / "videos";
  fs::create_directories(set);
  std::vector<Image> frames;
  for (int64_t k = 0; k < 4; ++k) frames.push_back(frame(k, {32, 48}));
  write_text(set / "good.avi", make_avi(frames, 4));
  const json whole = check(set, 0);
  CHECK(whole["videos"] == 1);
  CHECK(whole["frames"] == 4);
  REQUIRE(whole["rates"].size() == 1);
  CHECK(whole["rates"][0]["rate"] == 25.);
  write_text(set / "text.mp4", "no video at all");
  write_text(set / "cut.avi", make_avi(frames, 4).substr(0, make_avi(frames, 4).size() / 2));
  const json found = check(set, 3);
  REQUIRE(reasons(found, "text.mp4").size() == 1);
  CHECK_FALSE(reasons(found, "cut.avi").empty());
  CHECK(reasons(found, "good.avi").empty());
}

TEST_CASE("a signal stops check with 75, after what was found") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "set");
  const fs::path first = folder / "set/000";
  write_frames(first, {0, 2}, {512, 512});
  write_text(first / "img_00002.png", "broken");
  for (int k = 1; k < 600; ++k) {
    const fs::path clip = folder / ("set/" + std::to_string(1000 + k));
    fs::create_directories(clip);
    for (const char* name : {"img_00001.png", "img_00003.png"})
      fs::create_hard_link(first / "img_00001.png", clip / (name[8] == '3' ? "img_00002.png" : name));
  }
  Process process("millrace-data", {"check", (folder / "set").string(), "--json", "--threads", "1"});
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  process.kill(SIGINT);
  const Result result = process.wait();
  INFO(result.err);
  REQUIRE((result.code == 75 || result.signal == SIGINT));  // the signal can come before it is caught
  if (result.code != 75) return;
  const json found = parse_only_line(result.out);
  CHECK(found["complete"] == false);
  CHECK(found["checked"] < 600);
  CHECK_THAT(result.err, Contains("of 600 clips"));
}

TEST_CASE("check of what is not there, and of what cannot be meant") {
  const TemporaryFolder folder;
  require_problem(check(folder / "nothing", 3), "nothing", {"no such file or folder"});
  fs::create_directories(folder / "empty");
  require_problem(check(folder / "empty", 3), "empty", {"a folder with videos or numbered frames"});
  require_failure(tool({"check"}), {2, {"data"}});
  require_failure(tool({"check", "x", "--min-frames", "0"}), {2, {"--min-frames"}});
  require_failure(tool({"check", "synthetic:"}), {2, {"synthetic:", "synth"}});
}

TEST_CASE("inspect shows a run, its checkpoints and its plans") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run");
  const json shown = inspect(run);
  CHECK(shown["kind"] == "run");
  CHECK(shown["complete"] == true);
  CHECK(shown["being_written"] == false);
  CHECK(shown["latest"] == "step_000003");
  CHECK(shown["checkpoints"] == json::parse(R"([{"name":"step_000003","complete":true}])"));
  CHECK(shown["metrics"]["lines"] == 3);
  CHECK(shown["metrics"]["last"] == metrics_of(run).back());
  CHECK(shown["config"]["batch"] == 2);
  CHECK(shown["config"]["data"] == "synthetic:");
  REQUIRE(shown["plans"].size() == 1);
  const json environment = json::parse(bytes_of(run / "env.json"));
  CHECK(shown["plans"][0]["name"] == "step");
  CHECK(shown["plans"][0]["fingerprint"] == environment["plans"]["step"]);
  CHECK(inspect(run / "plan.txt")["plans"] == shown["plans"]);
  int64_t nodes = 0;
  for (const auto& kernel : shown["plans"][0]["kernels"]) nodes += kernel["nodes"].get<int64_t>();
  CHECK(nodes == shown["plans"][0]["nodes"]);
  require_table(run, {"complete", "step_000003  latest", "plan step", "metrics: 3 steps"});

  const fs::path checkpoint = latest_of(run);
  const json tensors = inspect(checkpoint / "model.safetensors", "--stats");
  json header = header_of(checkpoint / "model.safetensors");
  CHECK(tensors["metadata"] == header["__metadata__"]);
  CHECK(tensors["tensors"].size() == header.size() - 1);
  CHECK(tensors["values"] == 109015);
  for (const auto& t : tensors["tensors"]) {
    const json& entry = header[t["name"].get<std::string>()];
    CHECK(t["shape"] == entry["shape"]);
    CHECK(t["dtype"] == "F32");
    CHECK(t["bytes"] == entry["data_offsets"][1].get<int64_t>() - entry["data_offsets"][0].get<int64_t>());
    CHECK(t["not_finite"] == 0);
    CHECK(t["min"] <= t["mean"]);
    CHECK(t["mean"] <= t["max"]);
  }
  const json both = inspect(checkpoint);
  CHECK(both["complete"] == true);
  CHECK(both["files"].size() == 2);
  fs::remove(checkpoint / "DONE");
  CHECK(inspect(checkpoint)["complete"] == false);
  CHECK(inspect(run)["checkpoints"][0]["complete"] == false);
  require_table(checkpoint, {"motionnet.conv1.weight", "[3, 6, 3, 3]", "rms", "NOT complete"});
}

TEST_CASE("statistics of tensors: exact, and what is not finite is counted apart") {
  const TemporaryFolder folder;
  const std::string head =
      R"({"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"n":{"dtype":"I64","shape":[],"data_offsets":[16,24]}})";
  const float values[4] = {-1, 3, NAN, INFINITY};
  const uint64_t length = head.size();
  const int64_t number = -7;
  std::string bytes(8 + head.size() + 24, char{0});
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, head.data(), head.size());
  std::memcpy(bytes.data() + 8 + head.size(), values, 16);
  std::memcpy(bytes.data() + 24 + head.size(), &number, 8);
  const fs::path file = folder / "two tensors.safetensors";
  write_text(file, bytes);
  const json tensors = inspect(file, "--stats")["tensors"];
  REQUIRE(tensors.size() == 2);
  CHECK(tensors[0] == json{{"name", "w"},
                           {"dtype", "F32"},
                           {"shape", {2, 2}},
                           {"bytes", 16},
                           {"min", -1.},
                           {"max", 3.},
                           {"mean", 1.},
                           {"rms", std::sqrt(5.)},
                           {"not_finite", 2}});
  CHECK(tensors[1]["mean"] == -7);
  CHECK_FALSE(inspect(file)["tensors"][0].contains("min"));
  cut(file, bytes.size() - 1);
  require_failure(tool({"inspect", file.string()}), {3, {"two tensors.safetensors"}});
}

TEST_CASE("inspect shows lists and media") {
  const TemporaryFolder folder;
  const fs::path set = clips(folder);
  write_text(set / "list.txt", "x/a 3 1\nx/b 5 1\ny/c 4 2\n");
  const json list = inspect(set / "list.txt");
  CHECK(list["format"] == "path frames label");
  CHECK(list["entries"] == 3);
  CHECK(list["frames"] == json{{"sum", 12}, {"min", 3}, {"median", 4}, {"max", 5}});
  CHECK(list["labels"][0] == json{{"label", 1}, {"entries", 2}, {"frames", 8}, {"folder", "x"}});
  require_table(set / "list.txt", {"3 entries", "2 labels, 1 to 2"});

  const json flow = inspect(set / "a/flow00001.flo");
  CHECK(flow["width"] == 32);
  CHECK(flow["known"] == 768);
  CHECK(flow["mean_u"] == 1.5);
  CHECK(std::fabs(flow["length"]["max"].get<double>() - 1.5 * std::sqrt(2.)) < 1e-6);
  require_table(set / "a/flow00001.flo", {"flow of 32x24", "mean u 1.5"});
  const json image = inspect(set / "a/img_00001.png");
  CHECK(image["kind"] == "image");
  CHECK(image["height"] == 24);
  CHECK(inspect(set / "a")["flows"] == 1);
  require_table(set / "a", {"3 of them", "img_00001.png to img_00003.png"});
  if (have_video()) {
    write_text(folder / "v.avi", make_avi({frame(0, {32, 48}), frame(1, {32, 48})}, 2));
    CHECK(inspect(folder / "v.avi")["frames"] == 2);
    require_table(folder / "v.avi", {"video of 48x32, 2 frames"});
  }
}

TEST_CASE("inspect of what is broken: 3, and the others are shown all the same") {
  const TemporaryFolder folder;
  const fs::path set = clips(folder);
  require_failure(tool({"inspect", (folder / "nothing").string()}), {3, {"nothing", "no such file"}});
  require_failure(tool({"inspect", set.string()}), {3, {"my clips", "millrace-data check"}});
  write_text(folder / "a.flo", "PIEH");
  require_failure(tool({"inspect", (folder / "a.flo").string()}), {3, {"a.flo"}});
  write_text(folder / "a.txt", "");
  require_failure(tool({"inspect", (folder / "a.txt").string()}), {3, {"a.txt"}});
  write_text(folder / "plan.txt", "# step\nnode  kernel\nx plain f32(1) 0.0 0.0  arena+0\n");
  require_failure(tool({"inspect", (folder / "plan.txt").string()}), {3, {"plan.txt", "step"}});
  const fs::path image = set / "a/img_00001.png";
  const Result both = tool({"inspect", (folder / "a.flo").string(), image.string(), "--json"});
  CHECK(both.code == 3);
  CHECK(parse_only_line(both.out)["kind"] == "image");
  CHECK_THAT(both.err, Contains("a.flo"));
  require_failure(tool({"inspect"}), {2, {"path"}});
}

TEST_CASE("inspect shows what motionnet-flow made of a video") {
  const TemporaryFolder folder;
  const fs::path weights = small_run(folder, "run"), out = folder / "out";
  write_frames(folder / "clip", {0, 3}, {64, 64});
  REQUIRE(flow({"--weights", weights.string(), "--data", (folder / "clip").string(), "--out", out.string(),
                "--format", "jpg,flo", "--bound", "10"})
              .code == 0);
  const json shown = inspect(out / "clip");
  CHECK(shown["kind"] == "flow_folder");
  CHECK(shown["complete"] == true);
  CHECK(shown["files"] == 6);
  CHECK(shown["result"]["flows"] == 2);
  CHECK(shown["made_with"]["bound"] == 10);
  CHECK(shown["jpeg"]["bound"] == 10);
  CHECK(shown["jpeg"]["width"] == 64);
  require_table(out / "clip", {"complete; 6 files", "weights"});
  for (const char* broken : {"[]", "{\"format\": 1, \"made_with\": {}, \"result\": {}}"}) {
    write_text(out / "clip/done.json", broken);
    require_failure(tool({"inspect", (out / "clip").string()}), {3, {"done.json", "millrace flow 1"}});
  }
}
