// Pieces of report.html, shared by the files that write its sections.
#pragma once

#include <string>
#include <string_view>

#include "apps/actions/report.h"

namespace millrace::report {

// Text as HTML, also inside an attribute in double quotes. Bytes that are no UTF-8, and control characters,
// become U+FFFD.
std::string escaped(std::string_view text);
// At most `most` characters, the last of them an ellipsis where it was longer.
std::string shortened(const std::string& text, size_t most);
std::string percent_text(double percent);  // "84.06 %", with a no-break space

// Sections, from <section> to </section>; empty where there is nothing to show.
std::string matrix_section(const Accuracy& accuracy);
std::string classes_section(const Accuracy& accuracy);
std::string curves_section(const std::vector<ReportCurve>& curves);
std::string mistakes_section(const std::vector<ReportMistake>& mistakes);

// Made by CMake from report/style.css and report/script.js.
extern const char* const kStyle;
extern const char* const kScript;

}  // namespace millrace::report
