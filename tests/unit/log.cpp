#include "core/log.h"

#include <fcntl.h>

#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using Catch::Matchers::Contains;
using millrace::test::TemporaryFolder;

namespace {

// A file in the place of stderr.
class Screen {
 public:
  explicit Screen(LogOptions options = {})
      : fd_(::open((folder_ / "screen").c_str(), O_RDWR | O_CREAT | O_APPEND, 0600)) {
    options.fd = fd_.get();
    log.emplace(options);
  }
  std::string text() const { return read_file(folder_ / "screen", 10'000'000); }

 private:
  TemporaryFolder folder_;
  FileHandle fd_;

 public:
  std::optional<Log> log;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  size_t begin = 0;
  for (size_t end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    out.push_back(text.substr(begin, end - begin));
  }
  REQUIRE(begin == text.size());
  return out;
}

const LogOptions kTerminal{.terminal = true, .columns = 40};

}  // namespace

TEST_CASE("levels are named and filtered, colour only where asked for") {
  Screen plain;
  plain.log->debug("d");
  plain.log->info("i");
  plain.log->warning("w");
  plain.log->set_level(LogLevel::error);
  plain.log->warning("w2");
  plain.log->error("e");
  plain.log->set_level(LogLevel::quiet);
  plain.log->error("e2");
  CHECK(plain.text() == "i\nwarning: w\nerror: e\n");
  Screen coloured({.colour = true});
  coloured.log->warning("w");
  CHECK(coloured.text() == "\x1b[33mwarning: \x1b[0mw\n");
}

TEST_CASE("control characters do not reach the terminal") {
  Screen screen;
  screen.log->info("a\x1b[2Jb\r\tc\nd\x7f\u00e9");
  CHECK(screen.text() == "a?[2Jb?\tc\nd?\u00e9\n");
}

TEST_CASE("the log file has date, level and message, whatever the screen shows") {
  const TemporaryFolder folder;
  Screen screen({.level = LogLevel::quiet});
  screen.log->info("before");
  screen.log->set_file(folder / "log.txt");
  screen.log->debug("d");
  screen.log->info("i");
  screen.log->error("e");
  CHECK(screen.text().empty());
  const auto lines = lines_of(read_file(folder / "log.txt", 1000));
  REQUIRE(lines.size() == 2);
  CHECK_THAT(lines[0], Catch::Matchers::Matches("20..-..-.. ..:..:.. info    i"));
  CHECK_THAT(lines[1], Catch::Matchers::Matches("20..-..-.. ..:..:.. error   e"));
  CHECK_THROWS_AS(screen.log->set_file(folder / "none/log.txt"), Error);
}

TEST_CASE("a log file on a full disk is given up with one warning") {
  Screen screen;
  screen.log->set_file("/dev/full");
  screen.log->info("one");
  screen.log->info("two");
  const auto lines = lines_of(screen.text());
  REQUIRE(lines.size() == 3);
  CHECK(lines[0] == "one");
  CHECK_THAT(lines[1], Contains("/dev/full") && Contains("no more is logged there"));
  CHECK(lines[2] == "two");
}

TEST_CASE("a line goes above the bar, which is cut to the terminal") {
  Screen screen(kTerminal);
  screen.log->set_bar("bar");
  screen.log->info("line");
  CHECK(screen.text() == "\r\x1b[Kbar\r\x1b[Kline\nbar");
  screen.log->set_bar("");
  screen.log->info("end");
  CHECK(screen.text() == "\r\x1b[Kbar\r\x1b[Kline\nbar\r\x1b[Kend\n");
  Screen narrow({.terminal = true, .columns = 4});
  narrow.log->set_bar("\u00e9\u00e9\u00e9\u00e9");
  CHECK(narrow.text() == "\r\x1b[K\u00e9\u00e9\u00e9");
}

TEST_CASE("lines of many threads and the bar stay whole") {
  Screen screen(kTerminal);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        if (t == 0) screen.log->set_bar("bar " + std::to_string(i));
        screen.log->info("thread " + std::to_string(t) + " line " + std::to_string(i) + " end");
      }
    });
  }
  for (std::thread& t : threads) t.join();
  screen.log->set_bar("");
  std::set<std::string> seen;
  std::string text = screen.text();
  const std::string clear = "\r\x1b[K";
  text.erase(text.rfind(clear), clear.size());
  text.erase(text.rfind('\n') + 1);
  for (const std::string& line : lines_of(text)) {
    const size_t begin = line.rfind(clear);
    seen.insert(begin == std::string::npos ? line : line.substr(begin + clear.size()));
  }
  CHECK(seen.size() == 800);
  for (int i = 0; i < 200; ++i) CHECK(seen.count("thread 3 line " + std::to_string(i) + " end") == 1);
}

TEST_CASE("durations") {
  CHECK(duration_text(0) == "0:00");
  CHECK(duration_text(59.6) == "1:00");
  CHECK(duration_text(3599.6) == "1:00:00");
  CHECK(duration_text(100000) == "27:46:40");
  CHECK(duration_text(INFINITY) == "?");
  CHECK(duration_text(NAN) == "?");
}

TEST_CASE("the text of progress") {
  CHECK(progress_text({.title = "train", .done = 50, .total = 100, .rate = 12.345, .status = "loss 1"},
                      true) == "train [==========>         ] 50/100 50% 12.3 step/s ETA 0:04 loss 1");
  CHECK(progress_text({.done = 100, .total = 100, .rate = 0.01}, true) ==
        "[====================] 100/100 100% 100 s/step");
  CHECK(progress_text({.done = 150, .total = 100}, true) == "[====================] 150/100 100%");
  CHECK(progress_text({.title = "read", .unit = "frame", .done = 7, .rate = 2}, true) == "read 7 2 frame/s");
}

TEST_CASE("on a narrow terminal the line of progress loses what matters least, never rate, ETA and losses") {
  const Progress p{.title = "train",
                   .done = 50,
                   .total = 100,
                   .rate = 12.345,
                   .status = "loss 1 pixel .5",
                   .detail = "|g| 3"};
  const std::string expected[] = {
      "train [==========>         ] 50/100 50% 12.3 step/s ETA 0:04 loss 1 pixel .5 |g| 3",
      "train 50/100 50% 12.3 step/s ETA 0:04 loss 1 pixel .5 |g| 3",
      "train 50/100 50% 12.3 step/s ETA 0:04 loss 1 pixel .5",
      "train 50/100 12.3 step/s ETA 0:04 loss 1 pixel .5",
      "50/100 12.3 step/s ETA 0:04 loss 1 pixel .5",
      "50 12.3 step/s ETA 0:04 loss 1 pixel .5"};
  for (const std::string& line : expected) {
    const auto columns = static_cast<int64_t>(line.size());
    CHECK(progress_text_within(p, columns) == line);
    CHECK((line == expected[5] || progress_text_within(p, columns - 1) != line));
  }
  CHECK(progress_text_within(p, 10) == expected[5]);
  const std::string title = "\u00e9\u00e9";
  CHECK(progress_text_within({.title = title, .done = 7}, 4) == title + " 7");

  // A line of a real run.
  Screen screen({.terminal = true, .columns = 80});
  double now = 0;
  ProgressBar bar(*screen.log, {.title = "train", .total = 400000, .now = [&] { return now; }});
  now = 10000;
  bar.update(
      {.done = 123456, .status = "loss 1.3232 pixel 0.898 smooth 0.02 ssim 0.185", .detail = "|g| 3.41"});
  CHECK_THAT(screen.text(), Contains(" 12.3 step/s ETA 6:13:") && Contains("ssim 0.185"));
}

TEST_CASE("the ETA is of whatever ends the loop first") {
  const auto eta = [](double seconds_left) {
    return progress_text({.done = 50, .total = 100, .rate = 1, .seconds_left = seconds_left}, false);
  };
  CHECK(eta(-1) == "50/100 50% 1 step/s ETA 0:50");
  CHECK(eta(1000) == "50/100 50% 1 step/s ETA 0:50");
  CHECK(eta(20) == "50/100 50% 1 step/s ETA 0:20");
  CHECK(eta(0) == "50/100 50% 1 step/s ETA 0:00");
  CHECK(progress_text({.done = 5, .seconds_left = 20}, false) == "5 ETA 0:20");
  CHECK(progress_text({.done = 100, .total = 100, .rate = 1, .seconds_left = 20}, false) ==
        "100/100 100% 1 step/s");
}

TEST_CASE("a bar is drawn at most every so often, with the rate of a resumed loop's own steps") {
  Screen screen({.terminal = true, .columns = 100});
  double now = 5;
  {
    ProgressBar bar(*screen.log, {.title = "t", .total = 1010, .start = 1000, .now = [&] { return now; }});
    now += 0.05;
    bar.update(1001, "early");
    now += 0.95;
    bar.update(1002, "shown");
    CHECK(bar.rate() == Approx(2).epsilon(0.03));
  }
  CHECK_THAT(screen.text(), !Contains("early") && Contains("1002/1010 99%"));
  CHECK_THAT(screen.text(), Catch::Matchers::EndsWith("\r\x1b[K"));
}

TEST_CASE("the rate follows a loop that slows down") {
  Screen screen;
  double now = 0;
  ProgressBar bar(*screen.log, {.total = 1000, .now = [&] { return now; }});
  int64_t done = 0;
  for (; done < 100; now += 0.1) bar.update(++done, "");
  CHECK(bar.rate() == Approx(10).epsilon(0.05));
  for (; done < 200; now += 1) bar.update(++done, "");
  CHECK(bar.rate() == Approx(1).epsilon(0.1));
}

TEST_CASE("without a terminal there is a plain line now and then, and no escape") {
  Screen screen;
  double now = 0;
  ProgressBar bar(*screen.log, {.title = "t", .total = 100, .plain_seconds = 10, .now = [&] { return now; }});
  for (int64_t done = 1; done <= 25; ++done) {
    now += 1;
    bar.update(done, "loss 1");
  }
  bar.finish();
  CHECK(screen.text() ==
        "t 10/100 10% 1 step/s ETA 1:30 loss 1\n"
        "t 20/100 20% 1 step/s ETA 1:20 loss 1\n"
        "t 25/100 25% 1 step/s ETA 1:15 loss 1\n");
}

TEST_CASE("quiet also silences the bar") {
  Screen screen(kTerminal);
  screen.log->set_level(LogLevel::quiet);
  {
    ProgressBar bar(*screen.log, {.total = 10});
    bar.finish();
  }
  CHECK(screen.text().empty());
}
