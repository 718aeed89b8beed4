// scores.csv: what a recogniser said of each video, to be fused and measured (fusion.h, accuracy.h).
//
//   video,label,Archery,"Clean, and Jerk"
//   Archery/v_Archery_g01_c01.avi,Archery,5.25,-1.0625
//
// Lines as in RFC 4180: fields that hold a comma, a quote or a line break stand in quotes, a quote inside is
// doubled. Written with LF, read with LF or CRLF, with or without a byte order mark and a last line end. The
// label is a class's name. The numbers are logits averaged over a video's views, the shortest text that reads
// back as the same float.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct Scores {
  std::vector<std::string> classes;  // by label
  struct Row {
    std::string video;          // a name, or a path as the list writes it
    std::string label;          // one of `classes`
    std::vector<float> logits;  // one a class, finite
    bool operator==(const Row&) const = default;
  };
  std::vector<Row> rows;  // no video twice
  std::string name = {};  // of the file, for messages; not compared
  bool operator==(const Scores& other) const { return classes == other.classes && rows == other.rows; }
};

// Errors (data), which begin with [name:line:column]: a header that does not begin `video,label,`; no class,
// or one of an empty name or twice; a row of another number of fields; a video without a name or twice; a
// label that is no class; a score that is no finite float; quotes that RFC 4180 does not allow; a
// NUL byte; no row. The column counts bytes from 1.
Scores parse_scores(std::string_view text, const std::string& name);
// The same of a file, at most 2 GiB.
Scores read_scores(const std::filesystem::path& path);

// The file's text. Errors (data) where it could not be read again: the same as above, and a row whose number
// of logits is not that of the classes.
std::string scores_csv(const Scores& scores);

}  // namespace millrace
