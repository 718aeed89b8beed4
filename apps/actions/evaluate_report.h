// report.html of an evaluation (apps/actions/report.h): its numbers, and pictures of its worst mistakes.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "apps/actions/evaluate_data.h"
#include "apps/actions/evaluate_results.h"
#include "apps/actions/evaluate_streams.h"
#include "apps/actions/recognizer.h"

namespace millrace {

struct EvalReportInputs {
  const EvalResults& results;  // measured
  const std::vector<EvalStream>& streams;
  const std::vector<EvalData>& data;  // by split
  std::function<Device&()> device;    // that flow is computed on, asked for where it is
  Precision precision = Precision::fp32;
  std::string command;
};

// A picture that cannot be made is left out, with a warning. Errors (runtime): the disk.
void write_eval_report(const std::filesystem::path& file, const EvalReportInputs& inputs);

}  // namespace millrace
