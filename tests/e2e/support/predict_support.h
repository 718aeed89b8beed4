// twostream-predict on small nets and small videos.
#pragma once

#include "tests/catch.h"
#include "tests/e2e/support/scene.h"
#include "tests/unit/stream_file.h"

namespace millrace::test {

inline constexpr Size kFrame = {48, 64};
inline const std::vector<std::string> kClasses = {"fall", "run", "Clean, and Jerk"};

struct Weights {
  fs::path spatial, stacked;
  explicit Weights(const TemporaryFolder& folder)
      : spatial(folder / "spatial.safetensors"), stacked(folder / "stacked.safetensors") {
    write_stream(spatial, tiny_stream(StreamKind::spatial, kClasses), 1);
    write_stream(stacked, tiny_stream(StreamKind::stacked, kClasses), 2);
  }
  std::vector<std::string> one() const { return {"--weights", spatial.string()}; }
  std::vector<std::string> both() const {
    return {"--weights", spatial.string(), "--weights", stacked.string()};
  }
};

inline Result predict(const std::vector<std::string>& arguments) {
  return Process("twostream-predict", join({"--threads", "1", "--device", "cpu"}, arguments)).wait();
}

inline json only_prediction(const std::vector<std::string>& arguments) {
  const Result result = predict(join({"--json"}, arguments));
  INFO(result.err);
  REQUIRE(result.code == 0);
  return parse_only_line(result.out);
}

}  // namespace millrace::test
