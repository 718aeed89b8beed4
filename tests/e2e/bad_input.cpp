// Bad input: a clear line, the exit code of its kind, and nothing half done.
#include <cstring>
#include <fstream>

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"
#include "tests/unit/avi.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

using Arguments = std::vector<std::string>;

// A new run with `more` fails as expected, and leaves nothing.
void require_no_run(const TemporaryFolder& folder, const Arguments& more, const Expected& expected) {
  const fs::path out = folder / "no-run";
  require_failure(train(join(join(tiny(), {"--iterations", "2", "--out", out.string()}), more)), expected);
  CHECK_FALSE(fs::exists(out));
}

void require_no_run_on(const TemporaryFolder& folder, const std::string& file, const Expected& expected) {
  require_no_run(folder, {"--data", (folder / file).string()}, expected);
}

const Arguments kSynthetic = {"--data", "synthetic:"};

Arguments synthetic(const std::string& more) { return join(kSynthetic, words(more)); }

void write_text(const fs::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

// All three ways to give weights refuse them alike.
void require_refused_weights(const TemporaryFolder& folder, const fs::path& weights,
                             const Expected& expected) {
  require_no_run(folder, synthetic("--init " + weights.string()), expected);
  require_failure(train(join(tiny(), synthetic("--validate --json --weights " + weights.string()))),
                  expected);
}

std::vector<Image> frames(int64_t count, Size size = {64, 96}) {
  std::vector<Image> result;
  for (int64_t k = 0; k < count; ++k) result.push_back(frame(k, size));
  return result;
}

}  // namespace

TEST_CASE("sizes that the network cannot have, with those near") {
  const TemporaryFolder folder;
  require_no_run(folder, synthetic("--height 100"), {2, {"--height", "100", "96", "128"}});
  require_no_run(folder, synthetic("--width 230"), {2, {"--width", "230", "224", "256"}});
  require_no_run(folder, synthetic("--height 32"), {2, {"--height", "32", "64"}});
  require_no_run(folder, synthetic("--width -64"), {2, {"--width", "-64", "64"}});
  require_no_run(folder, synthetic("--width 99999999968"), {2, {"--width", "99999999968"}});
  const fs::path w = small_run(folder, "weights", "--iterations 0");
  require_failure(flow({"--weights", w.string(), "--data", "y", "--out", "z", "--height", "100"}),
                  {2, {"--height", "100", "96", "128"}});
}

TEST_CASE("options that cannot be meant") {
  const TemporaryFolder folder;
  require_no_run(folder, {}, {2, {"--data"}});
  require_no_run(folder, synthetic("--batch 0"), {2, {"--batch", "at least 1", "got 0"}});
  require_no_run(folder, synthetic("--batch many"), {2, {"--batch", "many"}});
  require_no_run(folder, synthetic("--batch 99999999999"), {2, {"--batch", "99999999999"}});
  require_no_run(folder, synthetic("--threads -1"), {2, {"--threads", "-1"}});
  require_no_run(folder, synthetic("--frames 1"), {2, {"--frames", "1"}});
  require_no_run(folder, synthetic("--channels 0"), {2, {"--channels", "0"}});
  require_no_run(folder, synthetic("--channels nan"), {2, {"--channels", "nan"}});
  require_no_run(folder, synthetic("--learning-rate -1"), {2, {"--learning-rate", "-1"}});
  require_no_run(folder, synthetic("--learning-rate inf"), {2, {"--learning-rate", "inf"}});
  require_no_run(folder, synthetic("--ssim-weights 1,2"), {2, {"--ssim-weights", "five", "2"}});
  require_no_run(folder, synthetic("--optimizer lion"), {2, {"--optimizer", "adam", "lion"}});
  require_no_run(folder, synthetic("--crop round"), {2, {"[--crop]", "multi_scale", "'round'"}});
  require_no_run(folder, synthetic("--preset huge"), {2, {"--preset", "small", "huge"}});
  require_no_run(folder, synthetic("--no-such-flag 3"), {2, {"--no-such-flag"}});
  require_no_run(folder, synthetic("--iteration=3"), {2, {"[--iteration]", "Is --iterations meant?"}});
  require_no_run(folder, synthetic("stray"), {2, {"'stray'", "--help"}});
  require_no_run(folder, synthetic("--weights somewhere"), {2, {"--weights", "--validate", "--init"}});
  require_no_run(folder, synthetic("--resize-height 0"), {2, {"--resize-height", "--resize-width"}});
  require_no_run(folder, {"--data", "synthetic:speed=3"}, {2, {"speed"}});
  require_no_run(folder, synthetic("--device gpu"), {4, {"--device", "'gpu'"}});
  require_failure(train(synthetic("--preset tiny")), {2, {"--out"}});
  require_failure(train(synthetic("--preset tiny --validate")), {2, {"--validate", "--weights"}});
  require_failure(train(synthetic("--validate --resume --out x")), {2, {"--validate", "--resume"}});
  require_failure(Process("millrace-data", {"chekc", "videos"}).wait(),
                  {2, {"synth, check, inspect", "'chekc'"}});
  require_failure(flow({}), {2, {"required"}});
  require_failure(flow(words("--weight x --data y")), {2, {"[--weight]", "Is --weights meant?"}});
  require_failure(flow(words("--weights x --data y --out z --format bmp")), {2, {"--format", "flo", "bmp"}});
  require_failure(flow(words("--weights x --data y --out z --threads -1")), {2, {"--threads", "-1"}});
  require_failure(flow(words("--weights x --data y --out z --device gpu")), {4, {"--device", "'gpu'"}});
}

TEST_CASE("what the optimizer and its schedule refuse is named by its flag") {
  const TemporaryFolder folder;
  for (const char* given : {"--beta1 2", "--beta2 -0.5", "--momentum 1", "--epsilon 0", "--weight-decay -1",
                            "--clip -1", "--lr-factor 0", "--warmup -1", "--lr-steps 0", "--lr-steps 9,9"}) {
    const Arguments flag = words(given);
    require_no_run(folder, synthetic(given), {2, {"[" + flag[0] + "]", "got " + flag[1].substr(0, 2)}});
  }
}

TEST_CASE("numbers that are none, or beyond what a number holds") {
  const TemporaryFolder folder;
  for (const char* flag : {"--batch", "--seed", "--iterations", "--epe-border"}) {
    for (const char* value : {"", " ", "1,2", "3.5", "nan", "0x10", "99999999999999999999999"}) {
      CAPTURE(flag, value);
      require_no_run(folder, join(kSynthetic, {flag, value}), {2, {flag, "a whole number", value}});
    }
  }
  for (const char* flag : {"--n-ref", "--mirror", "--max-seconds", "--ssim-weights"}) {
    for (const char* value : {"", "inf", "nan", "1e400", "1..2"}) {
      CAPTURE(flag, value);
      require_no_run(folder, join(kSynthetic, {flag, value}), {2, {flag, "a number", value}});
    }
  }
  require_no_run(folder, synthetic("--seed 3 --seed x"), {2, {"got 'x'"}});
  require_no_run(folder, synthetic("--ssim-weights 1,1,1,1,-1"), {2, {"--ssim-weights", "at least 0", "-1"}});
  require_no_run(folder, synthetic("--width 9223372036854775807"), {2, {"--width", "at most 8192"}});
  require_no_run(folder, synthetic("--clips-per-video 4000000000"), {2, {"--clips-per-video", "at most"}});
  require_no_run(folder, synthetic("--epe-border 32"), {2, {"--epe-border", "64x64", "32"}});
  const Arguments files = words("--weights x --data y --out z");
  require_failure(flow(join(files, {"--weights", ""})), {2, {"--weights", "nothing"}});
  require_failure(flow({"--weights", "x", "--out", "z", "--data", ""}), {2, {"--data", "nothing"}});
  require_failure(flow(join(files, {"--max-flow", "inf"})), {2, {"--max-flow", "a number", "inf"}});
  require_failure(flow(join(files, {"--every", "9000000000000000000"})), {2, {"--every", "1e9"}});
  require_failure(flow(join(files, {"--data-root", "there"})), {2, {"--data-root", "a list", "'y'"}});
  require_failure(flow(join(words("--weights x --out z --data y"), {folder.path().string()})),
                  {2, {"--data", "two images", "is a folder"}});
  const fs::path w = small_run(folder, "weights", "--iterations 0");
  require_failure(
      flow({"--weights", w.string(), "--data", "synthetic:size=64x96,count=1", "--epe-border", "32"}),
      {2, {"--epe-border", "96x64", "32"}});
}

TEST_CASE("files of options, with the line at fault") {
  const TemporaryFolder folder;
  const fs::path file = folder / "options.toml";
  const auto refused = [&](const std::string& text, const std::vector<std::string>& parts) {
    INFO(text);
    write_text(file, text);
    require_no_run(folder, join(kSynthetic, {"--config", file.string()}), {2, parts});
  };
  refused("seed = 1\nlearning_rat = 1e-3\n", {file.string() + ":2", "learning_rat"});
  refused("\n\nbatch = \"8\"\n", {file.string() + ":3", "batch", "whole number"});
  refused("batch = 8.5\n", {file.string() + ":1", "batch", "whole number"});
  refused("lrn = 1\n", {file.string() + ":1", "lrn", "true or false"});
  refused("lr_steps = 100\n", {file.string() + ":1", "lr_steps", "list"});
  refused("ssim_weights = [1, \"2\"]\n", {file.string() + ":1", "ssim_weights", "list of numbers"});
  refused("batch = = 8\n", {file.string() + ":1", "TOML"});
  refused("batch = 2\nbatch = 3\n", {file.string() + ":2"});
  refused("height = 100\n", {"--height", "100", "96", "128"});
  require_no_run(folder, join(kSynthetic, {"--config", (folder / "none.toml").string()}), {3, {"none.toml"}});
}

TEST_CASE("data that is not there or holds nothing") {
  const TemporaryFolder folder;
  const fs::path w = small_run(folder, "weights");
  fs::create_directories(folder / "empty");
  write_frames(folder / "one", {0, 1}, {64, 64});
  write_frames(folder / "gap", {0, 4}, {64, 64});
  fs::remove(folder / "gap/img_00003.png");
  write_frames(folder / "sizes", {0, 3}, {64, 64});
  write_png((folder / "sizes/img_00002.png").string(), frame(0, {64, 96}));
  write_frames(folder / "torn", {0, 3}, {64, 64});
  fs::resize_file(folder / "torn/img_00002.png", 300);
  require_no_run_on(folder, "none", {3, {"none", "no such file"}});
  require_no_run_on(folder, "empty", {3, {"empty", "videos or numbered frames"}});
  require_no_run_on(folder, "one", {3, {"one", "at least 2 frames", "1"}});
  require_no_run_on(folder, "gap", {3, {"gap", "frame 3", "img_00004.png"}});
  for (const char* name : {"none", "empty", "one", "gap", "sizes", "torn"}) {
    INFO(name);
    const Result result = flow(
        {"--weights", w.string(), "--data", (folder / name).string(), "--out", (folder / "flow").string()});
    require_failure(result, {3, {name}});
  }
  const Result torn =
      flow({"--weights", w.string(), "--data", (folder / "torn").string(), "--out", (folder / "f").string()});
  CHECK_THAT(torn.err, Contains("img_00002.png"));
  CHECK(names_in(folder / "f/torn").empty());
  // During training the file is named too, and the run can go on when it is mended.
  const Result training = train(join(join(tiny(), {"--data", (folder / "torn").string(), "--hold-out", "0"}),
                                     {"--out", (folder / "run").string(), "--iterations", "3"}));
  require_failure(training, {3, {"img_00002.png"}});
  write_frames(folder / "torn", {0, 3}, {64, 64});
  CHECK(train({"--resume", "--out", (folder / "run").string()}).code == 0);
}

TEST_CASE("one broken folder does not lose the flow of the others") {
  const TemporaryFolder folder;
  const fs::path w = small_run(folder, "weights");
  write_frames(folder / "data/a", {0, 3}, {64, 64});
  write_frames(folder / "data/b", {0, 3}, {64, 64});
  fs::resize_file(folder / "data/a/img_00002.png", 100);
  const Result result = flow({"--weights", w.string(), "--data", (folder / "data").string(), "--out",
                              (folder / "out").string(), "--json"});
  CHECK(result.code == 3);
  CHECK_THAT(result.err, Contains("img_00002.png"));
  const json line = parse_only_line(result.out);
  CHECK(line.at("failed") == 1);
  CHECK(line.at("flows") == 2);
  CHECK(flow_names_in(folder / "out/b").size() == 2);
}

TEST_CASE("videos that are none, or hold one frame") {
  const TemporaryFolder folder;
  write_text(folder / "empty.mp4", "");
  write_text(folder / "text.mp4", "this is no video, whatever its name says\n");
  write_text(folder / "one.avi", make_avi(frames(1), 1));
  write_text(folder / "head.avi", make_avi(frames(1), 1).substr(0, 100));
  for (const char* name : {"empty.mp4", "text.mp4", "one.avi", "head.avi"}) {
    require_no_run_on(folder, name, {3, {name}});
  }
  if (!video_built_in()) return;
  require_no_run_on(folder, "empty.mp4", {3, {"empty"}});
  require_no_run_on(folder, "one.avi", {3, {"at least 2 frames", "1"}});
  // Where there is one good video beside them, it is taken, and the others are named.
  fs::create_directories(folder / "mixed");
  for (const char* name : {"empty.mp4", "text.mp4", "one.avi"}) fs::copy(folder / name, folder / "mixed");
  write_text(folder / "mixed/good.avi", make_avi(frames(6), 6));
  const Result result = train(join(join(tiny(), {"--data", (folder / "mixed").string(), "--out"}),
                                   {(folder / "run").string(), "--iterations", "2", "--hold-out", "2"}));
  INFO(result.err);
  CHECK(result.code == 0);
  for (const char* name : {"empty.mp4", "text.mp4", "one"}) CHECK_THAT(result.err, Contains(name));
  for (const char* name : {"empty.mp4", "text.mp4", "one"})
    CHECK_THAT(bytes_of(folder / "run/log.txt"), Contains(name));
}

TEST_CASE("of a truncated video the frames before the damage are used, with a warning") {
  if (!video_built_in()) return;
  const TemporaryFolder folder;
  const fs::path w = small_run(folder, "weights");
  const std::string whole = make_avi(frames(10), 10);
  write_text(folder / "whole.avi", whole);
  write_text(folder / "cut.avi", whole.substr(0, whole.size() * 6 / 10));
  const auto flow_of = [&](const std::string& name) {
    return flow(
        {"--weights", w.string(), "--data", (folder / name).string(), "--out", (folder / "out").string()});
  };
  CHECK(flow_of("whole.avi").code == 0);
  const Result cut = flow_of("cut.avi");
  INFO(cut.err);
  CHECK(cut.code == 0);
  CHECK_THAT(cut.err, Contains("cut.avi"));
  const auto names = flow_names_in(folder / "out/cut");
  CHECK(names.size() >= 3);
  CHECK(names.size() < 9);
  for (const std::string& name : names)
    CHECK((bytes_of(folder / "out/cut" / name) == bytes_of(folder / "out/whole" / name)));
}

TEST_CASE("a real video cut at any place gives flow or a clear error") {
  const auto video = test_data("ucf101/v_Biking_g05_c02.avi");
  if (!video || !video_built_in()) return;
  const TemporaryFolder folder;
  const fs::path w = small_run(folder, "weights");
  const std::string whole = bytes_of(*video);
  for (const double share : {.0001, .01, .1}) {
    CAPTURE(share);
    write_text(folder / "cut.avi",
               whole.substr(0, static_cast<size_t>(share * static_cast<double>(whole.size()))));
    fs::remove_all(folder / "out");
    const Result result = flow({"--weights", w.string(), "--data", (folder / "cut.avi").string(), "--out",
                                (folder / "out").string(), "--native", "--height", "64", "--width", "64"});
    INFO(result.err);
    CHECK_THAT(result.err, Contains("cut.avi"));
    CHECK((result.code == 0 || result.code == 3));
    CHECK((result.code == 0) == !names_in(folder / "out/cut").empty());
    if (share > .05) CHECK(result.code == 0);
  }
}

TEST_CASE("weights of another net") {
  const TemporaryFolder folder;
  const fs::path wide = small_run(folder, "wide", "--channels 0.0625"),
                 long_clips = small_run(folder, "long", "--frames 3");
  require_no_run(
      folder, synthetic("--init " + wide.string()),
      {3, {"model.safetensors", "motionnet.conv1.weight", "(3,6,3,3)", "(4,6,3,3)", "--channels"}});
  require_no_run(folder, synthetic("--init " + long_clips.string()),
                 {3, {"(3,6,3,3)", "(3,9,3,3)", "--frames"}});
  const auto validate = [&](const std::string& more) {
    return train(words("--validate --data synthetic: --preset tiny --weights " + wide.string() + " " + more));
  };
  require_failure(validate("--channels 0.05"), {3, {"(3,6,3,3)", "(4,6,3,3)"}});
  require_failure(validate("--frames 11"), {3, {"33", "(4,6,3,3)"}});
}

TEST_CASE("weights that are broken") {
  const TemporaryFolder folder;
  const fs::path run = small_run(folder, "run"), file = folder / "broken.safetensors";
  const std::string whole = bytes_of(latest_of(run) / "model.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, whole.data(), 8);
  const auto refused = [&](const std::string& bytes, const std::vector<std::string>& parts) {
    write_text(file, bytes);
    require_refused_weights(folder, file, {3, join({"broken.safetensors"}, parts)});
    require_failure(flow({"--weights", file.string(), "--data", "synthetic:count=1"}),
                    {3, join({"broken"}, parts)});
  };
  const auto with_header = [&](const json& header) {
    const std::string text = header.dump();
    const uint64_t size = text.size();
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &size, 8);
    return bytes + text + whole.substr(8 + length);
  };
  const json header = json::parse(whole.substr(8, length));
  for (const size_t keep :
       {size_t{0}, size_t{5}, size_t{100}, 8 + static_cast<size_t>(length), whole.size() - 1}) {
    CAPTURE(keep);
    refused(whole.substr(0, keep), {});
  }
  refused("these are no weights, but more than eight bytes", {"safetensors"});
  refused(whole + "more", {});
  json overlap = header;
  overlap["motionnet.conv1_1.weight"]["data_offsets"] = header.at("motionnet.conv1.bias").at("data_offsets");
  refused(with_header(overlap), {});
  json shifted = header;
  const uint64_t begin = header.at("motionnet.conv2.weight").at("data_offsets")[0];
  shifted["motionnet.conv2.weight"]["data_offsets"] = {
      begin - 4, header.at("motionnet.conv2.weight").at("data_offsets")[1].get<uint64_t>() - 4};
  refused(with_header(shifted), {"motionnet.conv2"});
  json renamed = header;
  renamed["motionnet.convX.weight"] = renamed["motionnet.conv3.weight"];
  renamed.erase("motionnet.conv3.weight");
  refused(with_header(renamed), {"motionnet.conv3.weight"});
  for (const char* channels : {"1e9", "-1", "nan", "wide"}) {
    json metadata = header;
    metadata["__metadata__"]["channels"] = channels;
    write_text(file, with_header(metadata));
    require_failure(flow({"--weights", file.string(), "--data", "synthetic:count=1"}),
                    {3, {"channels", channels}});
  }
  require_refused_weights(folder, folder / "none", {3, {"none"}});
  fs::create_directories(folder / "hollow");
  require_refused_weights(folder, folder / "hollow", {3, {"hollow"}});
}

TEST_CASE("a loss that is not finite: the node is named, the last good checkpoint is kept") {
  const TemporaryFolder folder;
  // 3 good updates, then a rate that overflows the weights' products but not the weights.
  for (const char* more : {"--learning-rate 1e12", "--learning-rate 1e30",
                           "--optimizer sgd --learning-rate 1e25", "--learning-rate 1e20 --accumulate 2"}) {
    INFO(more);
    const fs::path run = folder / "run";
    fs::remove_all(run);
    const Arguments start = join(synthetic("--iterations 40 --checkpoint-every 1"), tiny());
    require_failure(train(join(join(start, words(more)), {"--out", run.string()})),
                    {5, {"step ", "finite", "nan", "first in motionnet/", "--learning-rate"}});
    const std::string kept = bytes_of(latest_of(run) / "model.safetensors");
    const size_t step = metrics_of(run).size();
    // It goes on from there, and comes to the same end.
    require_failure(train({"--resume", "--out", run.string(), "--threads", "1"}),
                    {5, {"step " + std::to_string(step + 1), "first in motionnet/"}});
    CHECK((bytes_of(latest_of(run) / "model.safetensors") == kept));
    const Result next = train(join(join(start, {"--out", (folder / "next").string()}),
                                   words("--init " + run.string() + " --iterations 0")));
    CHECK((next.code == 0 || next.code == 5));
    fs::remove_all(folder / "next");
  }
}

TEST_CASE("weights that are not finite make no checkpoint") {
  const TemporaryFolder folder;
  const fs::path run = folder / "run";
  require_failure(train(join(join(kSynthetic, tiny()), {"--out", run.string(), "--learning-rate", "1e39",
                                                        "--iterations", "9", "--checkpoint-every", "1"})),
                  {5, {"step 1", "motionnet.", "finite"}});
  CHECK(names_in(run / "checkpoints").empty());
  // A run of good steps first.
  const fs::path good = small_run(folder, "good", "--iterations 2");
  require_failure(train(join(join(kSynthetic, tiny()),
                             {"--out", (folder / "bad").string(), "--init", good.string(), "--lr-steps", "3",
                              "--lr-factor", "1e50", "--iterations", "9", "--checkpoint-every", "1"})),
                  {5, {"step 4", "finite"}});
  CHECK(latest_of(folder / "bad").filename() == "step_000003");
}
