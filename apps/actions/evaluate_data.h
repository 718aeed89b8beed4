// The videos of an evaluation: where their frames and flow are, and of which class of the weights they are.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "apps/actions/report.h"
#include "apps/actions/stream.h"
#include "data/source.h"

namespace millrace {

struct EvalDataOptions {
  std::string spec = {};  // as open_source takes it
  std::string data_root = {}, flow = {}, classes_file = {}, label_base = "auto";
  bool skip_missing = false;
  std::vector<std::string> weights_classes = {};
  std::string weights_name = {};  // for messages
  // Streams that the evaluation runs, in their order.
  std::vector<StreamSpec> streams = {};
};

struct EvalVideo {
  std::string name;            // in scores.csv
  std::string label;           // one of the weights' classes
  std::string path;            // on disk; empty: nowhere
  uint64_t bytes = 0;          // of its file, 0 of a folder
  std::vector<int64_t> items;  // in each stream's source
};

// One split.
struct EvalData {
  std::string spec;
  std::vector<SourcePtr> sources;            // by stream; those that take frames share one
  std::vector<EvalVideo> videos;             // in the list's order
  std::vector<ReportData::Broken> left_out;  // could not be opened
  std::vector<ReportData::Broken> missing;   // --skip-missing

  // Warns of nothing that was not said before. Errors: of open_source; a class of the data that the weights
  // do not know, with its name; a temporal stream without stored flow, or a video without it (data).
  static EvalData open(const EvalDataOptions& options);
};

// For each class of the data the weights' class of that name. Data that has no names, only numbers, is taken
// by number. Errors (data): the first name that the weights do not have.
std::vector<std::string> match_classes(const std::vector<std::string>& data, const EvalDataOptions& options);

// A name that CSV and JSON can hold: bytes that are no UTF-8, and control characters, become "?".
std::string printable(const std::string& name);

// Which videos a list or folder has, without opening them: known again by the last folder and the file's
// name, without extension and in lower case; where a list's paths have no folders, by the name alone.
class KnownVideos {
 public:
  KnownVideos() = default;
  // Errors: of reading the list or folder.
  KnownVideos(const std::string& spec, const std::string& data_root);
  bool has(const std::string& path) const;

 private:
  void add(const std::string& path);

  std::set<std::string> keys_;   // "class/video", "video"
  std::set<std::string> names_;  // "video"
};

}  // namespace millrace
