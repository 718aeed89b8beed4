#include "data/lists.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <unordered_map>

#include "core/error.h"
#include "core/files.h"

namespace millrace {
namespace {

constexpr size_t kMaxLineBytes = 8192;  // a path has at most 4096
constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;
constexpr int64_t kMaxNumber = 2147483647;
constexpr size_t kMaxColumns = 2;  // of numbers
constexpr std::string_view kBlanks = " \t\r";

struct Line {
  std::string_view text;  // without blanks at its ends, never empty
  int64_t number = 0;
};

// Where the text comes from, for messages.
[[noreturn]] void fail_line(const std::string& name, int64_t line, const Mismatch& m) {
  Mismatch placed = m;
  placed.where = fmt::format("{}:{}", name, line);
  fail(ErrorKind::data, placed);
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kMost = 80;
  return fmt::format("\"{}{}\"", text.substr(0, kMost), text.size() > kMost ? "..." : "");
}

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::vector<Line> split_lines(std::string_view text, const std::string& name) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<Line> lines;
  int64_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    for (const char c : line) {
      if (static_cast<unsigned char>(c) >= 0x20 || c == '\t') continue;
      fail_line(name, number,
                {.where = {},
                 .expected = "lines of text",
                 .got = fmt::format("the byte 0x{:02x}", static_cast<unsigned char>(c)),
                 .hint = "A list is plain text, one video a line"});
    }
    if (line.size() > kMaxLineBytes) {
      fail_line(name, number,
                {.where = {},
                 .expected = fmt::format("lines of at most {} bytes", kMaxLineBytes),
                 .got = std::to_string(line.size())});
    }
    if (!line.empty()) lines.push_back({line, number});
  }
  return lines;
}

bool is_whole_number(std::string_view word) {
  if (word.starts_with('-')) word.remove_prefix(1);
  return !word.empty() && word.find_first_not_of("0123456789") == std::string_view::npos;
}

struct Bounds {
  const char* what;
  int64_t least = 0;
  int64_t most = kMaxNumber;
};

int64_t parse_number(std::string_view word, const Bounds& bounds, const std::string& name, int64_t line) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error == std::errc{} && end == word.data() + word.size() && value >= bounds.least &&
      value <= bounds.most) {
    return value;
  }
  fail_line(name, line,
            {.where = {},
             .expected = fmt::format("{} from {} to {}", bounds.what, bounds.least, bounds.most),
             .got = in_quotes(word)});
}

bool has_video_extension(std::string_view word) {
  const size_t dot = word.rfind('.');
  if (dot == std::string_view::npos || word.size() - dot > 6) return false;
  std::string extension(word.substr(dot));
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  constexpr std::array kExtensions = {".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v",
                                      ".wmv", ".flv", ".ogv", ".ts",  ".3gp",  ".gif", ".mjpeg"};
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

// Of the line's words from the right.
struct Words {
  std::string_view rest;                // what is left of them
  std::vector<std::string_view> words;  // from left to right
};

Words take_numbers(std::string_view line, size_t most) {
  Words taken{.rest = line, .words = {}};
  while (taken.words.size() < most) {
    const size_t blank = taken.rest.find_last_of(kBlanks);
    if (blank == std::string_view::npos || !is_whole_number(taken.rest.substr(blank + 1))) break;
    taken.words.insert(taken.words.begin(), taken.rest.substr(blank + 1));
    taken.rest = trim(taken.rest.substr(0, blank));
  }
  return taken;
}

// The path up to its last word with the extension of a video; empty when there is none.
std::string_view video_path(std::string_view line) {
  for (size_t end = line.size(); end > 0;) {
    const size_t blank = line.find_last_of(kBlanks, end - 1);
    const size_t begin = blank == std::string_view::npos ? 0 : blank + 1;
    if (has_video_extension(line.substr(begin, end - begin))) return line.substr(0, end);
    end = begin == 0 ? 0 : begin - 1;
  }
  return {};
}

Words split_words(const Line& line, const std::string& name) {
  const std::string_view video = video_path(line.text);
  if (video.empty()) return take_numbers(line.text, kMaxColumns);
  const Words taken = take_numbers(line.text, kMaxColumns);
  if (taken.rest.size() == video.size()) return taken;
  fail_line(name, line.number,
            {.where = {},
             .expected = fmt::format("a label, or frames and a label, behind {}", in_quotes(video)),
             .got = in_quotes(trim(line.text.substr(video.size())))});
}

ListColumns columns_of(size_t numbers) {
  return numbers == 0   ? ListColumns::path
         : numbers == 1 ? ListColumns::path_label
                        : ListColumns::path_frames_label;
}

// All lines have the same columns: as many numbers as every line can have, or as the caller says.
struct Columns {
  size_t numbers = kMaxColumns;
  std::optional<Line> example = {};  // the first line that can have no more
  bool rare = false;                 // is it one of the fewer
};

Columns find_columns(const std::vector<Line>& lines, ListColumns given, const std::string& name) {
  if (given != ListColumns::automatic)
    return {.numbers = given == ListColumns::path         ? size_t{0}
                       : given == ListColumns::path_label ? size_t{1}
                                                          : kMaxColumns};
  std::array<size_t, kMaxColumns + 1> count = {};
  Columns columns{.numbers = kMaxColumns + 1};
  for (const Line& line : lines) {
    const size_t numbers = split_words(line, name).words.size();
    ++count[numbers];
    if (numbers < columns.numbers) columns = {.numbers = numbers, .example = line};
  }
  columns.rare = 2 * count[columns.numbers] < lines.size();
  return columns;
}

Words words_of(const Line& line, const Columns& columns, const std::string& name) {
  Words words = take_numbers(line.text, columns.numbers);
  const size_t video = columns.example ? video_path(line.text).size() : 0;
  const bool too_many = video > 0 && words.rest.size() > video;
  if (words.words.size() == columns.numbers && !too_many) return words;
  if (!columns.example) {
    fail_line(name, line.number,
              {.where = {},
               .expected = fmt::format("\"{}\"", columns_name(columns_of(columns.numbers))),
               .got = in_quotes(line.text)});
  }
  // Of the two kinds of lines the rarer is the wrong one.
  const Line& wrong = columns.rare ? *columns.example : line;
  const Line& right = columns.rare ? line : *columns.example;
  fail_line(
      name, wrong.number,
      {.where = {},
       .expected = fmt::format("\"{}\" as in line {}",
                               columns_name(columns_of(split_words(right, name).words.size())), right.number),
       .got = in_quotes(wrong.text)});
}

void add_entry(VideoList& list, ListEntry entry, std::unordered_map<std::string, size_t>& known) {
  const auto [found, is_new] = known.try_emplace(entry.path, list.entries.size());
  if (is_new) return list.entries.push_back(std::move(entry));
  const ListEntry& before = list.entries[found->second];
  if (before.label != entry.label || before.frames != entry.frames) {
    const auto text = [](const std::optional<int64_t>& number) {
      return number ? std::to_string(*number) : "none";
    };
    const bool labels = before.label != entry.label;
    fail_line(list.name, entry.line,
              {.where = {},
               .expected = fmt::format("{} {} for {} as in line {}", labels ? "label" : "frames",
                                       text(labels ? before.label : before.frames), in_quotes(entry.path),
                                       before.line),
               .got = text(labels ? entry.label : entry.frames)});
  }
  ++list.repeated;
}

}  // namespace

const char* columns_name(ListColumns columns) {
  switch (columns) {
    case ListColumns::path:
      return "path";
    case ListColumns::path_label:
      return "path label";
    case ListColumns::path_frames_label:
      return "path frames label";
    case ListColumns::kinetics:
      return "label,youtube_id,time_start,time_end";
    case ListColumns::automatic:
      break;
  }
  return "automatic";
}

bool is_video_name(const std::filesystem::path& path) {
  return has_video_extension(path.filename().string());
}

bool is_list_name(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".txt" || extension == ".lst" || extension == ".list" || is_kinetics_name(path);
}

VideoList parse_list(std::string_view text, const std::string& name, ListColumns columns) {
  if (const auto hmdb51 = hmdb51_name(name)) {
    fail(ErrorKind::data,
         {.where = name,
          .expected = "a list of videos, or of videos and labels",
          .got = "a list of HMDB51, whose numbers say training, test or unused",
          .hint = fmt::format("All its lists at once are hmdb51:FOLDER,split={},part=train", hmdb51->split)});
  }
  const std::vector<Line> lines = split_lines(text, name);
  if (lines.empty()) {
    fail(ErrorKind::data,
         {.where = name, .expected = "a list with at least one video", .got = "no line with text"});
  }
  const Columns found = find_columns(lines, columns, name);
  VideoList list{.name = name,
                 .columns = columns_of(found.numbers),
                 .columns_line = found.example ? found.example->number : 0,
                 .entries = {},
                 .repeated = 0,
                 .classes = {}};
  std::unordered_map<std::string, size_t> known;
  for (const Line& line : lines) {
    const Words words = words_of(line, found, name);
    ListEntry entry{.path = std::string(words.rest), .frames = {}, .label = {}, .line = line.number};
    const auto& numbers = words.words;
    if (numbers.size() == 2)
      entry.frames = parse_number(numbers[0], {.what = "a number of frames", .least = 1}, name, line.number);
    if (!numbers.empty()) entry.label = parse_number(numbers.back(), {.what = "a label"}, name, line.number);
    add_entry(list, std::move(entry), known);
  }
  return list;
}

ClassNames parse_class_names(std::string_view text, const std::string& name) {
  const std::vector<Line> lines = split_lines(text, name);
  if (lines.empty())
    fail(ErrorKind::data, {.where = name, .expected = "names of classes", .got = "no line with text"});
  const auto number_of = [](const Line& line) {
    return line.text.substr(0, std::min(line.text.find_first_of(kBlanks), line.text.size()));
  };
  const auto count = static_cast<int64_t>(lines.size());
  ClassNames classes;
  classes.names.resize(lines.size());
  const bool numbered = std::all_of(lines.begin(), lines.end(), [&](const Line& line) {
    return is_whole_number(number_of(line)) && number_of(line).size() < line.text.size();
  });
  if (numbered) {
    classes.first =
        std::any_of(lines.begin(), lines.end(), [&](const Line& line) { return number_of(line) == "0"; }) ? 0
                                                                                                          : 1;
  }
  std::unordered_map<std::string_view, int64_t> known;
  for (size_t k = 0; k < lines.size(); ++k) {
    const Line& line = lines[k];
    std::string_view class_name = line.text;
    size_t place = k;
    if (numbered) {
      const Bounds bounds{.what = "the number of a class, of which none is left out,",
                          .least = classes.first,
                          .most = classes.first + count - 1};
      place = static_cast<size_t>(parse_number(number_of(line), bounds, name, line.number) - classes.first);
      class_name = trim(line.text.substr(number_of(line).size()));
    }
    const auto [before, is_new] = known.try_emplace(class_name, line.number);
    if (!is_new || !classes.names[place].empty()) {
      fail_line(name, line.number,
                {.where = {},
                 .expected = "each class and each number once",
                 .got = is_new ? fmt::format("the number of \"{}\" again", classes.names[place])
                               : fmt::format("{} as in line {}", in_quotes(class_name), before->second)});
    }
    classes.names[place] = class_name;
  }
  return classes;
}

std::vector<Hmdb51Line> parse_hmdb51(std::string_view text, const std::string& name) {
  std::vector<Hmdb51Line> result;
  for (const Line& line : split_lines(text, name)) {
    const Words words = take_numbers(line.text, 1);
    if (words.words.empty()) {
      fail_line(name, line.number,
                {.where = {}, .expected = "\"name.avi 0\", 1 or 2", .got = in_quotes(line.text)});
    }
    result.push_back(
        {.file = std::string(words.rest),
         .part = parse_number(words.words[0],
                              {.what = "0 (unused), 1 (training) or 2 (test),", .least = 0, .most = 2}, name,
                              line.number),
         .line = line.number});
  }
  if (result.empty())
    fail(ErrorKind::data, {.where = name, .expected = "a list of HMDB51", .got = "no line with text"});
  return result;
}

VideoList read_list(const std::filesystem::path& path, ListColumns columns) {
  const std::string text = read_file(path, kMaxFileBytes);
  return is_kinetics_name(path) ? parse_kinetics(text, path.string())
                                : parse_list(text, path.string(), columns);
}

ClassNames read_class_names(const std::filesystem::path& path) {
  return parse_class_names(read_file(path, kMaxFileBytes), path.string());
}

}  // namespace millrace
