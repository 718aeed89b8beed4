// Windows of a video over time, what is written of them, and how they are drawn.
#include "apps/actions/timeline.h"

#include <fstream>
#include <iterator>

#include "apps/actions/predict_result.h"
#include "tests/catch.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;

namespace {

std::vector<FrameWindow> windows(int64_t length, const WindowSteps& steps) {
  std::vector<FrameWindow> all;
  for (int64_t k = 0; k < window_count(length, steps); ++k) all.push_back(window_at(k, length, steps));
  return all;
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Pixels of this colour in a column.
int64_t pixels_in_column(const Image& image, int64_t column, const uint8_t* colour) {
  int64_t count = 0;
  for (int64_t i = 0; i < image.height; ++i)
    count += std::equal(colour, colour + 3, image.at(i, column)) ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("windows begin every stride, all of one length, and the last ends with the video") {
  CHECK(windows(10, {4, 3}) == std::vector<FrameWindow>{{0, 4}, {3, 7}, {6, 10}});
  CHECK(windows(11, {4, 3}) == std::vector<FrameWindow>{{0, 4}, {3, 7}, {6, 10}, {7, 11}});
  CHECK(windows(9, {4, 6}) == std::vector<FrameWindow>{{0, 4}, {5, 9}});
  CHECK(windows(3, {4, 1}) == std::vector<FrameWindow>{{0, 3}});
  CHECK(windows(4, {4, 1}) == std::vector<FrameWindow>{{0, 4}});
  CHECK(windows(1, {1, 1}) == std::vector<FrameWindow>{{0, 1}});
  CHECK(windows(3, {1, 1}) == std::vector<FrameWindow>{{0, 1}, {1, 2}, {2, 3}});
  // Hours at a frame a time: no number overflows.
  CHECK(window_count(100'000'000, {1, 1}) == 100'000'000);
  CHECK(window_at(99'999'999, 100'000'000, {1, 1}) == FrameWindow{99'999'999, 100'000'000});
}

TEST_CASE("spans are seconds, or frames with an f") {
  CHECK(frames_of_span("--window", "2", 25) == 50);
  CHECK(frames_of_span("--window", "2.5s", 30) == 75);
  CHECK(frames_of_span("--window", "0.001", 25) == 1);  // no video has windows of nothing
  CHECK(frames_of_span("--window", "64f", 25) == 64);
  CHECK(frames_of_span("--window", "64f", 0) == 64);
  CHECK(frames_of_span("--window", "1e12", 1e5) == 1'000'000'000'000);
  for (const char* text :
       {"", "s", "f", "0", "-1", "-1f", "2.5f", "2 s", "2m", "nan", "inf", "1e300", "two"}) {
    INFO(text);
    CHECK_THAT(message_of([&] { frames_of_span("--stride", text, 25); }),
               Contains("--stride") && Contains("such as 64f"));
  }
  CHECK_THAT(message_of([] { frames_of_span("--window", "2", 0); }), Contains("--fps") && Contains("64f"));
}

TEST_CASE("times are minutes and seconds, hours when there are any, or the frame") {
  CHECK(time_text(0, 25) == "0:00.0");
  CHECK(time_text(620, 10) == "1:02.0");
  CHECK(time_text(1799, 30) == "1:00.0");  // 59.97, rounded as a whole
  CHECK(time_text(36610, 10) == "1:01:01.0");
  CHECK(time_text(17, 0) == "frame 17");
}

TEST_CASE("a time line in CSV has a line per window, and is there once it is whole") {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder / "timeline.csv";
  {
    TimelineCsv broken(file, {"a"}, {.rate = 25});
    broken.add({0, 5}, {1});
  }
  CHECK(std::filesystem::is_empty(folder.path()));
  TimelineCsv csv(file, {"fall", "Clean, and Jerk", "say \"hi\""}, {.rate = 25});
  csv.add({0, 50}, {.25, .5, .25});
  csv.add({25, 75}, {1, 0, 1e-9});
  CHECK_FALSE(std::filesystem::exists(file));
  csv.commit();
  CHECK(text_of(file) ==
        "start_s,end_s,start_frame,end_frame,fall,\"Clean, and Jerk\",\"say \"\"hi\"\"\"\n"
        "0.000,2.000,0,50,0.25,0.5,0.25\n"
        "1.000,3.000,25,75,1,0,1e-09\n");
  TimelineCsv unknown(file, {"fall"}, {});
  unknown.add({0, 50}, {1});
  unknown.commit();
  CHECK(text_of(file) == "start_s,end_s,start_frame,end_frame,fall\n,,0,50,1\n");
}

TEST_CASE("the picture of a time line shows each class where it leads, and the mean where windows overlap") {
  TimelinePicture line({.name = "video", .length = 100, .rate = 25}, {"first", "second", "never"});
  line.add({0, 50}, {1, 0, 0});
  line.add({50, 100}, {.25, .75, 0});
  const Image image = line.draw();
  // The first class is below, the second above: 62.5 % and 37.5 % of the whole.
  const uint8_t* first = image.at(image.height / 2, 0);
  for (int64_t i = 0; i < image.height; ++i) {  // its swatch at the left is the first colour that is met
    if (*image.at(i, 14) == 178 && image.at(i, 14)[1] == 114) first = image.at(i, 14);
  }
  REQUIRE(*first == 178);
  const int64_t begin = 240, columns = image.width - begin - 12;
  const int64_t whole = pixels_in_column(image, begin + 10, first);
  const int64_t quarter = pixels_in_column(image, begin + columns - 10, first);
  CHECK(whole >= 160);
  CHECK(whole <= 190);  // and its band, which is full as well
  CHECK(quarter == 40);

  TimelinePicture overlapping({.name = "video", .length = 100, .rate = 0}, {"first", "second"});
  overlapping.add({0, 60}, {1, 0});
  overlapping.add({40, 100}, {0, 1});
  const Image mixed = overlapping.draw();
  CHECK(pixels_in_column(mixed, begin + columns / 2, first) == 80);
}

TEST_CASE("pictures of time lines hold any video: one frame, a hundred million, 1000 classes of long names") {
  std::vector<std::string> classes;
  for (int k = 0; k < 1000; ++k) classes.push_back(std::string(200, 'x') + std::to_string(k));
  std::vector<double> shares(1000, .001);
  TimelinePicture one({.name = std::string(500, 'n'), .length = 1, .rate = 25}, classes);
  one.add({0, 1}, shares);
  CHECK(one.draw().height > 160);
  TimelinePicture many({.name = "v", .length = 100'000'000, .rate = 30}, classes);
  shares[7] = .9;
  many.add({99'999'990, 100'000'000}, shares);  // less than a column
  many.add({0, 10}, shares);
  CHECK(many.draw().width < 2000);
  // Nothing was added: no share anywhere, still a picture.
  CHECK(TimelinePicture({.name = "v", .length = 10, .rate = 0}, {"a"}).draw().height > 160);
}

TEST_CASE("windows of one leading class are one segment, and overlapping ones meet halfway") {
  Segments segments;
  segments.add({0, 20}, 1, .5);
  segments.add({10, 30}, 1, .7);
  segments.add({20, 40}, 0, .9);
  segments.add({30, 50}, 1, .4);
  const std::vector<Segment>& all = segments.all();
  REQUIRE(all.size() == 3);
  CHECK(all[0].frames == FrameWindow{0, 25});
  CHECK(all[0].share == Approx(.6));
  CHECK(all[0].windows == 2);
  CHECK(all[1].frames == FrameWindow{25, 35});
  CHECK(all[1].label == 0);
  CHECK(all[2].frames == FrameWindow{35, 50});
}
