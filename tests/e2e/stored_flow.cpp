// What motionnet-flow writes is data for networks of stored flow: by the same list, of any format and net.
#include <cstdlib>
#include <fstream>

#include "data/flow_files.h"
#include "data/flow_jpeg.h"
#include "data/source.h"
#include "tests/catch.h"
#include "tests/e2e/support/scene.h"

using namespace millrace;
using namespace millrace::test;

namespace {

constexpr int64_t kLong = 13,
                  kShort = 3;  // frames of the two videos; with 11 a window, two windows and a part

// Flows of the list's videos, as bytes x0 y0 x1 y1 ... of one item.
struct Stored {
  std::vector<std::string> names;
  std::vector<int64_t> lengths;
  std::vector<Image> flows;  // of the first
};
Stored stored(const fs::path& list, const fs::path& out) {
  const SourcePtr source = open_source({.spec = list, .data_root = out, .labelled = true, .flow = true});
  CHECK(source->classes() == std::vector<std::string>{"Bow", "Run"});
  Stored found;
  for (int64_t item = 0; item < source->size(); ++item) {
    CHECK(source->label(item) == 1 - item);
    found.names.push_back(source->name(item));
    found.lengths.push_back(source->length(item));
  }
  found.flows = source->read({.item = 0, .first = 0, .count = source->length(0)}).frames;
  return found;
}

}  // namespace

TEST_CASE("flow that motionnet-flow stored is found by the videos' list") {
  const TemporaryFolder folder;
  write_frames(folder / "videos/Run/one", {0, kLong}, {64, 64});
  write_frames(folder / "videos/Bow/two", {5, kShort}, {64, 64});
  const fs::path list = folder / "list.txt";
  std::ofstream(list) << "Run/one 13 1\nBow/two 3 0\n";
  for (const char* frames : {"2", "11"}) {
    const fs::path net =
        small_run(folder, std::string("net") + frames, std::string("--iterations 0 --frames ") + frames);
    const fs::path out = folder / (std::string("flow") + frames);
    const Result result =
        flow({"--weights", net.string(), "--data", list.string(), "--data-root", (folder / "videos").string(),
              "--out", out.string(), "--format", "flo,jpg", "--quality", "100", "--threads", "1"});
    INFO(result.err);
    REQUIRE(result.code == 0);
    const Stored pairs = stored(list, out);
    CHECK(pairs.names == std::vector<std::string>{"Run/one", "Bow/two"});
    CHECK(pairs.lengths == std::vector<int64_t>{kLong - 1, kShort - 1});
    // Number k of a clip is the flow from frame k to the next.
    const Flow last = read_flow(out / "Run/one/flow_00012.flo");
    const Image& found = pairs.flows.back();
    REQUIRE(found.size() == last.size());
    for (size_t k = 0; k < found.pixels.size(); ++k)
      REQUIRE(std::abs(found.pixels[k] - flow_to_byte(last.uv[k], {})) <= 2);  // JPEG
    // The .flo files are the same to the byte that the JPEGs hold, but for what JPEG changes.
    std::vector<fs::path> pictures;
    for (const fs::path& file : fs::recursive_directory_iterator(out)) {
      if (file.extension() == ".jpg") pictures.push_back(file);
    }
    for (const fs::path& file : pictures) fs::remove(file);
    const Stored files = stored(list, out);
    CHECK(files.lengths == pairs.lengths);
    for (size_t k = 0; k < found.pixels.size(); ++k)
      REQUIRE(files.flows.back().pixels[k] == flow_to_byte(last.uv[k], {}));
  }
}
