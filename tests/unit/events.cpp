#include "core/events.h"

#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/unit/temporary_folder.h"

using namespace millrace;
using millrace::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

std::vector<Event> read_all(const fs::path& path, bool* torn = nullptr) {
  EventReader reader(path);
  std::vector<Event> out;
  while (auto event = reader.next()) out.push_back(*std::move(event));
  if (torn != nullptr) *torn = reader.torn();
  return out;
}

std::string hex(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) {
    out += "0123456789abcdef"[static_cast<uint8_t>(c) >> 4];
    out += "0123456789abcdef"[c & 15];
  }
  return out;
}

void write_steps(const fs::path& path, int64_t first, int64_t last) {
  EventWriter writer(path);
  for (int64_t step = first; step <= last; ++step) writer.write({.step = step, .scalars = {{"loss", 1.0F}}});
}

std::vector<int64_t> steps(const fs::path& path) {
  std::vector<int64_t> out;
  for (const Event& e : read_all(path)) out.push_back(e.step);
  return out;
}

}  // namespace

TEST_CASE("CRC-32C gives the published check value and the answers of RFC 3720, B.4") {
  CHECK(crc32c("123456789") == 0xe3069283u);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
  CHECK(crc32c("") == 0);
}

// Made by the independent script events_expected.py beside this file, which packs the bytes with Python's
// struct.
TEST_CASE("records have the bytes of the format") {
  const Event event{.step = 300, .wall_time = 1.5, .scalars = {{"loss", 0.25F}}, .images = {}};
  CHECK(hex(encode_event(event)) ==
        "1b000000000000001a0d9e1309000000000000f83f10ac022a0d0a0b0a046c6f7373150000803e9908deed");
  const Event version{
      .step = 0, .wall_time = 2, .file_version = "brain.Event:2", .scalars = {}, .images = {}};
  CHECK(hex(encode_event(version)) ==
        "1a00000000000000129bd82d09000000000000004010001a0d627261696e2e4576656e743a32893e666d");
}

TEST_CASE("what is written is read back") {
  const TemporaryFolder folder;
  const fs::path path = folder / "events.out.tfevents.1";
  std::string png(1 << 17, '\0');
  for (size_t i = 0; i < png.size(); ++i) png[i] = static_cast<char>(i * 31);
  {
    EventWriter writer(path);
    writer.write({.step = int64_t{1} << 40, .scalars = {{"loss", -0.5F}, {"", 1e30F}}});
    writer.write(
        {.step = 2, .images = {{.tag = "flow", .height = 300, .width = 2, .channels = 3, .png = png}}});
  }
  {
    EventWriter writer(path);  // a second writer goes on behind the first
    writer.write({.step = 3, .wall_time = 4.25});
  }
  bool torn = true;
  const auto events = read_all(path, &torn);
  CHECK_FALSE(torn);
  REQUIRE(events.size() == 4);
  CHECK(events[0].file_version == "brain.Event:2");
  CHECK(events[1].step == int64_t{1} << 40);
  CHECK(events[1].wall_time > 1.7e9);
  CHECK(events[1].scalars == std::vector<std::pair<std::string, float>>{{"loss", -0.5F}, {"", 1e30F}});
  REQUIRE(events[2].images.size() == 1);
  CHECK(events[2].images[0].tag == "flow");
  CHECK(events[2].images[0].height == 300);
  CHECK(events[2].images[0].width == 2);
  CHECK(events[2].images[0].png == png);
  CHECK(events[3].wall_time == 4.25);
}

TEST_CASE("trimming keeps the version and the steps up to the last") {
  const TemporaryFolder folder;
  const fs::path path = folder / "e";
  CHECK(trim_events(path, 3) == 0);
  CHECK_FALSE(fs::exists(path));
  write_steps(path, 1, 5);
  CHECK(trim_events(path, 3) == 2);
  CHECK(steps(path) == std::vector<int64_t>{0, 1, 2, 3});
  write_steps(path, 4, 4);
  CHECK(steps(path) == std::vector<int64_t>{0, 1, 2, 3, 4});
  CHECK(trim_events(path, -1) == 4);
  CHECK(read_all(path).at(0).file_version == "brain.Event:2");
}

TEST_CASE("an end torn at any byte is seen and dropped, and the file can go on") {
  const TemporaryFolder folder;
  write_steps(folder / "whole", 1, 2);
  const std::string bytes = read_file(folder / "whole", 10000);
  const std::string second = encode_event({.step = 2, .wall_time = 1, .scalars = {{"loss", 1.0F}}});
  const size_t start = bytes.size() - second.size();
  for (size_t n = start + 1; n < bytes.size(); ++n) {
    INFO(n);
    write_file_atomically(folder / "e", bytes.substr(0, n));
    bool torn = false;
    CHECK(read_all(folder / "e", &torn).size() == 2);
    CHECK(torn);
    CHECK(trim_events(folder / "e", 9) == 1);
    CHECK(read_file(folder / "e", 10000) == bytes.substr(0, start));
  }
  write_steps(folder / "e", 2, 2);
  CHECK(steps(folder / "e") == std::vector<int64_t>{0, 1, 2});
  // Torn within the version: an empty file, which a writer begins anew.
  write_file_atomically(folder / "e", bytes.substr(0, 5));
  CHECK(trim_events(folder / "e", 9) == 1);
  write_steps(folder / "e", 1, 1);
  CHECK(read_all(folder / "e").at(0).file_version == "brain.Event:2");
}

TEST_CASE("any changed byte ends the reading there") {
  const TemporaryFolder folder;
  write_steps(folder / "whole", 1, 2);
  const std::string bytes = read_file(folder / "whole", 10000);
  for (size_t n = 0; n < bytes.size(); ++n) {
    std::string changed = bytes;
    changed[n] = static_cast<char>(changed[n] ^ 0x10);
    write_file_atomically(folder / "e", changed);
    bool torn = false;
    CHECK(read_all(folder / "e", &torn).size() < 3);
    CHECK(torn);
  }
}

TEST_CASE("a record with a right checksum and a wrong message is an end, not a crash") {
  const TemporaryFolder folder;
  std::mt19937 random(1);
  const std::string good = encode_event({.step = 5, .wall_time = 1, .scalars = {{"loss", 1.0F}}});
  int refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string data = good.substr(12, good.size() - 16);
    data.resize(random() % 4 == 0 ? random() % data.size() + 1 : data.size());
    for (int i = 0; i < 2; ++i) data[random() % data.size()] = static_cast<char>(random());
    const uint64_t length = data.size();
    const std::string head(reinterpret_cast<const char*>(&length), 8);
    const uint32_t crcs[2] = {masked_crc32c(head), masked_crc32c(data)};
    const auto* crc_bytes = reinterpret_cast<const char*>(crcs);
    write_file_atomically(folder / "e",
                          head + std::string(crc_bytes, 4) + data + std::string(crc_bytes + 4, 4));
    bool torn = false;
    const auto events = read_all(folder / "e", &torn);
    CHECK(events.size() == (torn ? 0 : 1));
    refused += torn ? 1 : 0;
  }
  CHECK(refused > 200);
}

TEST_CASE("a folder that is not there is an error with the path") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(EventWriter(folder / "none/e"), Catch::Matchers::Contains("none/e"));
  CHECK_THROWS_AS(EventReader(folder / "e"), Error);
}
