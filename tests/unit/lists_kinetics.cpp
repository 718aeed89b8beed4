// Kinetics' CSV: what is taken, where its clips are found, what is refused.
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "core/error.h"
#include "data/csv.h"
#include "data/lists.h"
#include "data/source.h"
#include "tests/catch.h"
#include "tests/unit/avi.h"
#include "tests/unit/message_of.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using test::message_of;
using test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

using Fields = std::vector<std::string>;

constexpr const char* kHeader = "label,youtube_id,time_start,time_end,split\n";

VideoList parse(const std::string& rows) { return parse_kinetics(kHeader + rows, "k.csv"); }
std::string failure(const std::string& rows) {
  return message_of([&] { parse(rows); });
}

void write_video(const fs::path& path) {
  fs::create_directories(path.parent_path());
  Image image;
  image.reshape({8, 16}, 3);
  std::ofstream(path, std::ios::binary) << test::make_avi(std::vector<Image>(3, image), 3);
}

}  // namespace

TEST_CASE("CSV is read as RFC 4180 has it") {
  const auto rows = parse_csv(
      "\xEF\xBB\xBF"
      "a,\"b, c\",\"say \"\"hi\"\"\"\r\n\n,,\r\n\"two\nlines\",x,\"\"",
      "t.csv");
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].fields == Fields{"a", "b, c", "say \"hi\""});
  CHECK(rows[1].fields == Fields{"", "", ""});
  CHECK(rows[2].fields == Fields{"two\nlines", "x", ""});
  CHECK(rows[1].line == 3);
  CHECK(rows[2].line == 4);
  CHECK(parse_csv("", "t.csv").empty());
  CHECK(parse_csv("\n\r\n", "t.csv").empty());
  const auto message = [](const std::string& text) { return message_of([&] { parse_csv(text, "t.csv"); }); };
  CHECK_THAT(message("a,b\nc\n"), StartsWith("[t.csv:2] expected 2 fields as in line 1, got 1"));
  CHECK_THAT(message("a,\"b\nc"), StartsWith("[t.csv:1:3] expected a closing quote"));
  CHECK_THAT(message("a\n\"b\"c\n"), StartsWith("[t.csv:2:4] expected a comma or a line's end"));
  CHECK_THAT(message("a\"b\n"), StartsWith("[t.csv:1:2] expected quotes around a whole field"));
  CHECK_THAT(message("\"a\n\n\"\nb,c\n"), StartsWith("[t.csv:4] expected 1 fields"));
}

TEST_CASE("a CSV of Kinetics names clips by label, id and times") {
  const VideoList list = parse(
      "air drumming,--0dg2,53,63,train\r\n\"throwing, axe\",Abc_9-x,0,10,train\nair "
      "drumming,zz,999,1009.0,train\n");
  CHECK(list.classes == Fields{"air drumming", "throwing, axe"});
  REQUIRE(list.entries.size() == 3);
  CHECK(list.entries[0].path == "air drumming/--0dg2_000053_000063.mp4");
  CHECK(list.entries[0].label == 0);
  CHECK(list.entries[1].path == "throwing, axe/Abc_9-x_000000_000010.mp4");
  CHECK(list.entries[1].label == 1);
  CHECK(list.entries[1].line == 3);
  CHECK(list.entries[2].path == "air drumming/zz_000999_001009.mp4");
  CHECK(list.warnings.empty());
  const Fields& others = list.entries[0].other_paths;
  for (const char* path : {"air drumming/--0dg2_000053_000063.mkv", "air_drumming/--0dg2_000053_000063.mp4",
                           "--0dg2_000053_000063.webm", "air drumming/--0dg2.mp4", "--0dg2.mp4"})
    CHECK(std::find(others.begin(), others.end(), path) != others.end());
  // Columns in any order, and more of them; a test list has no labels.
  const VideoList other = parse_kinetics("youtube_id,is_cc,time_end,time_start\nab,0,12,2\n", "k.csv");
  CHECK(other.entries[0].path == "ab_000002_000012.mp4");
  CHECK_FALSE(other.entries[0].label);
  CHECK(other.classes.empty());
}

TEST_CASE("a CSV that is none of Kinetics says where") {
  CHECK_THAT(message_of([] { parse_kinetics("", "k.csv"); }), Contains("no line with text"));
  CHECK_THAT(message_of([] { parse_kinetics(kHeader, "k.csv"); }),
             Contains("at least one clip, got one line"));
  CHECK_THAT(message_of([] { parse_kinetics("video,label\na,b\n", "k.csv"); }),
             StartsWith("[k.csv:1]") && Contains("\"youtube_id\" in no column"));
  CHECK_THAT(
      message_of([] { parse_kinetics("label,label,youtube_id,time_start,time_end\na,b,c,1,2\n", "k.csv"); }),
      Contains("\"label\" in more than one column"));
  CHECK_THAT(failure("a,../x,1,2,train\n"), StartsWith("[k.csv:2] expected a video's id, got \"../x\""));
  CHECK_THAT(failure("..,x,1,2,train\n"), Contains("the name of a class, got \"..\""));
  CHECK_THAT(failure(",x,1,2,train\n"), Contains("the name of a class, got \"\""));
  CHECK_THAT(failure("a,x,-1,2,train\n"), Contains("time_start, seconds from 0"));
  CHECK_THAT(failure("a,x,1,nan,train\n"), Contains("time_end, seconds from 0"));
  CHECK_THAT(failure("a,x,1,2e9,train\n"), Contains("time_end, seconds from 0"));
  CHECK_THAT(failure("\"a\x1b\",x,1,2,train\n"), Contains("the byte 0x1b"));
  CHECK_THAT(failure("a,x,1,2,train\nb,x,1,2,train\n"),
             StartsWith("[k.csv:3] expected label \"a\" of this clip as in line 2, got \"b\""));
  const VideoList twice = parse("a,x,1,2,train\na,x,1,2,train\na,y,1,2,val\n");
  CHECK(twice.entries.size() == 2);
  CHECK(twice.repeated == 1);
  REQUIRE(twice.warnings.size() == 1);
  CHECK_THAT(twice.warnings[0], Contains("2 splits; all are taken"));
}

TEST_CASE("clips of Kinetics are found however they were stored") {
  const TemporaryFolder folder;
  write_video(folder / "data/air drumming/a_000001_000011.mp4");
  write_video(folder / "data/air_drumming/b_000002_000012.mkv");
  write_video(folder / "data/c_000003_000013.mp4");
  write_video(folder / "data/archery/-d.webm");
  std::ofstream(folder / "k.csv") << kHeader
                                  << "air drumming,a,1,11,val\nair drumming,b,2,12,val\n"
                                     "archery,c,3,13,val\narchery,-d,4,14,val\n";
  SourceOptions options{.spec = folder / "k.csv", .data_root = folder / "data", .labelled = true};
  const SourcePtr source = open_source(options);
  REQUIRE(source->size() == 4);
  CHECK(source->classes() == Fields{"air drumming", "archery"});
  CHECK(source->name(1) == "air drumming/b_000002_000012");
  for (int64_t k = 0; k < 4; ++k) {
    CHECK(source->label(k) == k / 2);
    CHECK(source->length(k) == 3);
  }
  fs::remove(folder / "data/archery/-d.webm");
  CHECK_THAT(message_of([&] { open_source(options); }), Contains("1 missing: line 5"));
  options.skip_missing = true;
  options.warn = [](const std::string&) {};
  CHECK(open_source(options)->size() == 3);
}

TEST_CASE("names of Kinetics' label map number its labels") {
  const char* data = std::getenv("MILLRACE_TEST_DATA");
  if (data == nullptr) WARN("skipped: MILLRACE_TEST_DATA names no folder of real data");
  if (data == nullptr) return;
  const TemporaryFolder folder;
  write_video(folder / "zumba/a_000001_000011.mp4");
  std::ofstream(folder / "k.csv") << kHeader << "zumba,a,1,11,val\n";
  const SourcePtr source = open_source({.spec = folder / "k.csv",
                                        .labelled = true,
                                        .classes_file = fs::path(data) / "splits/kinetics400_label_map.txt"});
  CHECK(source->label(0) == 399);
  CHECK(source->classes().size() == 400);
}
