// Lists of videos or frame folders as people have them: official UCF101 and HMDB51 splits, TSN and mmaction2.
//
// A list is text, one video a line; the path comes first and may hold blanks, so numbers are read from the
// right:
//
//   Class/v_Class_g01_c01.avi 1    path label           UCF101's trainlist, mmaction2's videos
//   Class/v_Class_g01_c01.avi      path                 UCF101's testlist
//   v_Class_g01_c01 124 0          path frames label    TSN's and mmaction2's frame folders
//
// Which of these a list is shows in its lines, and all lines are alike. Where a word ends in the extension of
// a video the path ends there, and the numbers behind it count: none, one or two. Else a line has as many
// numbers, at most two, as all lines have: `Run/clip 2 7` has one where another line has one, and its path is
// `Run/clip 2`. Line ends may be LF or CRLF; blanks and tabs at a line's ends, empty lines and a byte order
// mark are skipped. There are no comments and no quotes.
//
// A list of HMDB51 (`brush_hair_test_split1.txt`: `name.avi 1`) is of another kind: its numbers are no labels
// but say 1 training, 2 test, 0 unused. It is read by parse_hmdb51, never taken for a list of labels.
//
// Errors are of kind data and begin with [file:line].
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

// `kinetics`: of a CSV of Kinetics, no list's.
enum class ListColumns { automatic, path, path_label, path_frames_label, kinetics };
const char* columns_name(ListColumns columns);  // "path frames label"

struct ListEntry {
  std::string path;                           // as written; below the data's root, or absolute
  std::optional<int64_t> frames;              // as the list claims, at least 1
  std::optional<int64_t> label;               // as written: counted from 0 or 1, which number_labels settles
  int64_t line = 0;                           // from 1
  std::vector<std::string> other_paths = {};  // where it may lie instead, tried in this order
  bool operator==(const ListEntry&) const = default;
};

struct VideoList {
  std::string name;  // of the file, for messages
  ListColumns columns = ListColumns::path;
  int64_t columns_line = 0;          // a line that shows them; 0: the caller's word
  std::vector<ListEntry> entries;    // in the list's order, no path twice
  int64_t repeated = 0;              // lines left out because their like came before
  std::vector<std::string> classes;  // names by label from 0, where they are known
  std::vector<std::string> warnings = {};
};

// A pure function of its arguments. Errors: no entry; bytes that are no text; a line over 8 KiB; lines of
// different kinds; a number below its least (label 0, frames 1) or over 2^31 - 1; one path with different
// labels or frames; a list of HMDB51 by its name.
VideoList parse_list(std::string_view text, const std::string& name,
                     ListColumns columns = ListColumns::automatic);

// Names of classes, one a line: `1 ApplyEyeMakeup` (UCF101's classInd.txt; numbers without a gap from 0 or 1,
// in any order) or the names alone, whose numbers begin at 0.
struct ClassNames {
  std::vector<std::string> names;  // by label from 0
  int64_t first = 0;               // the number of the first class as the file counts
};
ClassNames parse_class_names(std::string_view text, const std::string& name);

enum class LabelBase { automatic, zero, one };
struct LabelOptions {
  const ClassNames* classes = nullptr;
  LabelBase base = LabelBase::automatic;
};
// Makes labels count from 0, and knows the classes afterwards. The rule for `automatic`:
//   - UCF101's paths name their class (`Class/...`, compared without regard to case: the clips of
//     HandstandPushups are called HandStandPushups): with class names, the base is the one for which every
//     label is its folder's class; a label that is not is an error. Where the list has no labels they come
//     from there.
//   - else the label 0 says base 0, and the label K of K named classes says base 1;
//   - else it cannot be told, which is an error: the caller must say.
// Errors: that; a label that no class has; a list without labels whose folders are no classes.
void number_labels(VideoList& list, const LabelOptions& options);

// HMDB51's split of one class.
struct Hmdb51Line {
  std::string file;
  int64_t part = 0;  // 1 training, 2 test, 0 unused
  int64_t line = 0;
};
std::vector<Hmdb51Line> parse_hmdb51(std::string_view text, const std::string& name);
// "brush_hair" of "x/brush_hair_test_split1.txt"; nothing for another name.
struct Hmdb51Name {
  std::string class_name;
  int64_t split = 0;
};
std::optional<Hmdb51Name> hmdb51_name(const std::string& path);

enum class Hmdb51Part { train = 1, test = 2 };
struct Hmdb51Options {
  std::filesystem::path folder;  // with <class>_test_split<split>.txt for each class
  int64_t split = 1;
  Hmdb51Part part = Hmdb51Part::train;
  // Published lists of its classes differ in their order (kick_ball before kick): then the labels do. Null:
  // by the alphabet, kick before kick_ball.
  const ClassNames* classes = nullptr;
};
// Entries `class/file` with labels from 0. Errors: no such lists in the folder; one of a class without a
// name; none of their clips in this part.
VideoList read_hmdb51(const Hmdb51Options& options);

// Kinetics' CSV (RFC 4180): a header with the columns youtube_id, time_start, time_end (seconds) and, but in
// its test lists, label, in any order; others are passed over, and all lines are taken whatever their `split`
// (more than one is among the warnings). A clip is
//
//   <label>/<id>_<start>_<end>.mp4    start and end in 6 digits, as those who download it call it
//
// or the same with _ for blanks in the label, without the label's folder, as <id>.mp4, or as .mkv or .webm.
// Labels count from 0 in the alphabet's order. Errors ([file:line]): parse_csv's; a column missing or twice;
// an id, time or label that can be none; no clip; one clip with different labels.
VideoList parse_kinetics(std::string_view text, const std::string& name);
bool is_kinetics_name(const std::filesystem::path& path);  // .csv

// Classes of a list that nobody names: the folders of its paths, in the alphabet's order where it has no
// labels, else as its labels say. Nothing where these do not go together: a path without a folder, a label of
// two folders or a folder of two labels, labels that leave out a number or begin at another than 0 or 1.
std::optional<ClassNames> classes_by_folders(const VideoList& list);

// A file of any of these kinds but HMDB51's.
VideoList read_list(const std::filesystem::path& path, ListColumns columns = ListColumns::automatic);
ClassNames read_class_names(const std::filesystem::path& path);

// Does the name say that a file is a list (.txt, .lst, .list; .csv of Kinetics)?
bool is_list_name(const std::filesystem::path& path);
bool is_video_name(const std::filesystem::path& path);

}  // namespace millrace
