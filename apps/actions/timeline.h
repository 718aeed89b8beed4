// What a recogniser saw over the time of a long video: windows, their CSV and their picture. Neither grows in
// memory with the video.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/files.h"
#include "data/image.h"

namespace millrace {

// Frames [first, end) of a video, from 0.
struct FrameWindow {
  int64_t first = 0, end = 0;
  int64_t frames() const { return end - first; }
  bool operator==(const FrameWindow&) const = default;
};

// Windows of `frames` frames that begin every `stride` frames. The last one ends with the video, closer to
// the one before where it must; a video that is shorter than a window is one window.
struct WindowSteps {
  int64_t frames = 0, stride = 0;  // both at least 1
};
int64_t window_count(int64_t length, const WindowSteps& steps);
FrameWindow window_at(int64_t number, int64_t length, const WindowSteps& steps);

// --window and --stride as people write them: "2", "2.5s": seconds; "64f": frames. Seconds become at least
// one frame by `rate`, frames per second. Errors (usage): another text, nothing above 0; seconds where the
// rate is 0, not known.
int64_t frames_of_span(const std::string& flag, const std::string& text, double rate);

// "1:02.4" of seconds, or "frame 620" where the rate is not known.
std::string time_text(int64_t frame, double rate);

// A line per window, to a file that is there once it is whole:
//
//   start_s,end_s,start_frame,end_frame,<class names>
//   0.000,2.560,0,64,0.93125,0.06875
//
// Frames count from 0, `end` is the first behind the window; seconds are frames by the video's rate, empty
// where that is not known. Of each class its share of the window (ranking.h), in the classes' order. Quoting
// by RFC 4180.
class TimelineCsv {
 public:
  struct Video {
    double rate = 0;  // frames per second; 0: not known
  };
  TimelineCsv(const std::filesystem::path& path, const std::vector<std::string>& classes, Video video);
  void add(const FrameWindow& window, const std::vector<double>& shares);
  void commit() { file_.commit(); }

 private:
  AtomicFile file_;
  Video video_;
};

// The same as a picture: the shares stacked over time, and for each of the leading classes its name and a
// band that is as dark as its share.
class TimelinePicture {
 public:
  struct Video {
    std::string name;
    int64_t length = 0;  // frames
    double rate = 0;     // frames per second; 0: not known
  };
  TimelinePicture(Video video, std::vector<std::string> classes);
  // Of frames that several windows see, the mean is shown.
  void add(const FrameWindow& window, const std::vector<double>& shares);
  Image draw() const;

 private:
  double share(int64_t column, size_t label) const;
  std::vector<size_t> leading() const;
  void draw_shares(Image& picture, const std::vector<size_t>& shown) const;
  void draw_band(Image& picture, int64_t top, size_t place, size_t label) const;
  void draw_axis(Image& picture, int64_t top) const;

  Video video_;
  std::vector<std::string> classes_;
  int64_t columns_;            // of the picture's time
  std::vector<double> sums_;   // columns x classes
  std::vector<int64_t> seen_;  // by column: windows
};

}  // namespace millrace
