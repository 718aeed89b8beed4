// millrace-data join: two streams become one recogniser, or nothing is there.
#include <stdlib.h>

#include "tests/e2e/support/predict_support.h"
#include "tests/unit/stream_file.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

TEST_CASE("millrace-data join makes one folder of two streams, whole or not at all") {
  const TemporaryFolder folder;
  const Weights weights(folder);
  write_frames(folder / "clip", {0, 8}, kFrame);
  const std::string clip = (folder / "clip").string(), out = (folder / "joined").string();
  const auto joining = [&](const fs::path& first, const fs::path& second, const std::string& to) {
    return Process("millrace-data", {"join", first.string(), second.string(), "--out", to}).wait();
  };
  const Result joined = joining(weights.stacked, weights.spatial, out + "/");
  INFO(joined.err);
  REQUIRE(joined.code == 0);
  CHECK(names_in(out) == std::vector<std::string>{"DONE", "model.safetensors"});
  CHECK(only_prediction({"--weights", out, clip}) == only_prediction(join(weights.both(), {clip})));
  const json header = header_of(fs::path(out) / "model.safetensors");
  CHECK(header.contains("spatial.conv1_1.weight"));
  CHECK(header.contains("temporal.fc8.bias"));
  CHECK(header.contains("motionnet.conv1.weight"));
  CHECK_THAT(header.at("__metadata__").at("stream.temporal").get<std::string>(), Contains("random weights"));

  require_failure(joining(weights.spatial, weights.stacked, out), {.code = 2, .parts = {"not empty"}});
  require_failure(joining(weights.spatial, weights.spatial, out + "2"),
                  {.code = 2, .parts = {"two spatial"}});
  require_failure(joining(out, weights.spatial, out + "2"), {.code = 2, .parts = {"two spatial"}});
  const fs::path turned = folder / "turned.safetensors";
  write_stream(turned, tiny_stream(StreamKind::stacked, {kClasses[1], kClasses[0], kClasses[2]}), 2);
  require_failure(joining(weights.spatial, turned, out + "2"),
                  {.code = 3, .parts = {"the classes in the order", "\"run\" as number 0"}});
  CHECK_FALSE(fs::exists(out + "2"));
}

TEST_CASE("a full disk leaves no half recogniser") {
  const TemporaryFolder folder;
  const Weights weights(folder);
  const fs::path out = folder / "joined";
  int failures = 0;
  for (int n = 1; n < 40; ++n) {
    ::setenv("MILLRACE_FAIL_WRITE", std::to_string(n).c_str(), 1);
    const Result result = Process("millrace-data", {"join", weights.spatial.string(),
                                                    weights.stacked.string(), "--out", out.string()})
                              .wait();
    ::unsetenv("MILLRACE_FAIL_WRITE");
    if (result.code == 0) break;
    ++failures;
    CHECK(result.code == 1);
    // Only the last step, after the new name, may fail with all of it there.
    if (fs::exists(out)) CHECK(names_in(out) == std::vector<std::string>{"DONE", "model.safetensors"});
    CHECK_FALSE(fs::exists(folder / ".tmp_joined"));
    fs::remove_all(out);
  }
  CHECK(failures > 5);
}
