// The confusion matrix as a drawing, the confusions in words, and the bars of classes.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "apps/actions/report_html.h"
#include "apps/support/text.h"

namespace millrace::report {
namespace {

constexpr int64_t kMostWithCounts = 20;  // classes, so that a cell is large enough for its number
constexpr double kFaintest = .22;        // opacity of a cell with one video of many
constexpr size_t kMostConfusions = 12;   // in words

// Sizes in pixels.
struct Grid {
  explicit Grid(const std::vector<std::string>& classes) {
    const bool large = std::ssize(classes) <= kMostWithCounts;
    cell = large ? 36 : 11;
    font = large ? 13 : 10;
    characters = large ? 22 : 24;
    size_t longest = 1;
    for (const std::string& name : classes) longest = std::max(longest, std::min(name.size(), characters));
    margin = 16 + .6 * font * static_cast<double>(longest);
    extent = margin + cell * static_cast<double>(classes.size());
  }
  double cell, font, margin, extent;
  size_t characters;  // of a label
};

std::string cell_title(const Accuracy& a, int64_t label, int64_t answer, int64_t count) {
  const Accuracy::Class& row = a.per_class[label];
  return fmt::format("{}{}{}: {} of {} ({:.1f} %)", escaped(a.classes[label]),
                     label == answer ? " recognised" : " taken for ",
                     label == answer ? "" : escaped(a.classes[answer]), count, counted(row.videos, "video"),
                     100. * static_cast<double>(count) / static_cast<double>(row.videos));
}

std::string labels(const Accuracy& a, const Grid& grid) {
  std::string html;
  for (int64_t c = 0; c < std::ssize(a.classes); ++c) {
    const std::string name = escaped(a.classes[c]), brief = escaped(shortened(a.classes[c], grid.characters));
    const double middle = grid.margin + grid.cell * (static_cast<double>(c) + .5), end = grid.margin - 6;
    html += fmt::format(R"html(<text class="row" x="{:.1f}" y="{:.1f}">{}<title>{}</title></text>)html", end,
                        middle + .35 * grid.font, brief, name);
    html += fmt::format(
        R"html(<text class="col" transform="translate({:.1f} {:.1f}) rotate(-90)">{}<title>{}</title></text>
)html",
        middle + .35 * grid.font, end, brief, name);
  }
  return html;
}

// Only cells with videos are drawn: most of 101 x 101 are empty. The colour is a share of the row.
std::string cells(const Accuracy& a, const Grid& grid) {
  const int64_t classes = std::ssize(a.classes);
  std::string html;
  for (int64_t label = 0; label < classes; ++label) {
    for (int64_t answer = 0; answer < classes; ++answer) {
      const int64_t count = a.confusion[label * classes + answer];
      if (count == 0) continue;
      const double share = static_cast<double>(count) / static_cast<double>(a.per_class[label].videos);
      const double x = grid.margin + grid.cell * static_cast<double>(answer);
      const double y = grid.margin + grid.cell * static_cast<double>(label);
      html += fmt::format(
          R"html(<g><title>{}</title><rect class="cell {}" data-row="{}" data-col="{}" x="{:.1f}" y="{:.1f}" width="{}" height="{}" fill-opacity="{:.3f}"/>)html",
          cell_title(a, label, answer, count), label == answer ? "right" : "wrong", label, answer, x, y,
          grid.cell, grid.cell, kFaintest + (1 - kFaintest) * share);
      if (classes <= kMostWithCounts) {
        html += fmt::format(R"html(<text class="count{}" x="{:.1f}" y="{:.1f}">{}</text>)html",
                            share > .5 ? " strong" : "", x + grid.cell / 2, y + grid.cell / 2 + 5, count);
      }
      html += "</g>\n";
    }
  }
  return html;
}

struct Confusion {
  int64_t label, answer, count;
};

std::vector<Confusion> confusions(const Accuracy& a) {
  const int64_t classes = std::ssize(a.classes);
  std::vector<Confusion> list;
  for (int64_t label = 0; label < classes; ++label) {
    for (int64_t answer = 0; answer < classes; ++answer) {
      const int64_t count = a.confusion[label * classes + answer];
      if (label != answer && count > 0) list.push_back({label, answer, count});
    }
  }
  std::stable_sort(list.begin(), list.end(),
                   [](const Confusion& x, const Confusion& y) { return x.count > y.count; });
  if (list.size() > kMostConfusions) list.resize(kMostConfusions);
  return list;
}

std::string confusion_table(const Accuracy& a) {
  const std::vector<Confusion> list = confusions(a);
  if (list.empty()) return "<p>No video was taken for one of another class.</p>\n";
  std::string html =
      R"html(<h3>Most frequent confusions</h3>
<div class="scroll" tabindex="0"><table class="list"><thead><tr><th>Class</th><th>taken for</th><th class="number">Videos</th><th class="number">of the class</th></tr></thead><tbody>
)html";
  for (const Confusion& c : list) {
    html += fmt::format(
        R"html(<tr><td>{}</td><td>{}</td><td class="number">{}</td><td class="number">{:.1f}&nbsp;%</td></tr>
)html",
        escaped(a.classes[c.label]), escaped(a.classes[c.answer]), c.count,
        100. * static_cast<double>(c.count) / static_cast<double>(a.per_class[c.label].videos));
  }
  return html + "</tbody></table></div>\n";
}

}  // namespace

std::string matrix_section(const Accuracy& a) {
  const Grid grid(a.classes);
  const double side = grid.cell * static_cast<double>(a.classes.size());
  std::string html =
      R"html(<section id="confusions"><h2>Confusions</h2>
<p>Rows are the videos' classes, columns the answers; a cell's colour is its share of the row.<span class="js"> Point at a cell, or focus the matrix and use the arrow keys.</span></p>
<p><span class="key right"></span>recognised <span class="key wrong"></span>taken for another class</p>
<p id="readout" class="js" aria-live="polite">&nbsp;</p>
<div class="scroll" tabindex="0" id="matrix" role="group" aria-label="Confusion matrix; the most frequent confusions are listed below">
)html";
  html += fmt::format(
      R"html(<svg class="matrix" width="{0:.0f}" height="{0:.0f}" viewBox="0 0 {0:.0f} {0:.0f}" data-margin="{1:.1f}" data-cell="{2}" data-classes="{3}" style="font-size:{4}px">
<rect class="ground" x="{1:.1f}" y="{1:.1f}" width="{5}" height="{5}"/>
)html",
      grid.extent + 2, grid.margin, grid.cell, a.classes.size(), grid.font, side);
  html += labels(a, grid) + cells(a, grid);
  html += R"html(<rect id="cursor" width="0" height="0"/></svg></div>
)html";
  return html + confusion_table(a) + "</section>\n";
}

std::string classes_section(const Accuracy& a) {
  std::vector<int64_t> order(a.classes.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
    const Accuracy::Class &p = a.per_class[x], &q = a.per_class[y];
    if ((p.videos == 0) != (q.videos == 0)) return q.videos == 0;  // what is not known last
    return p.percent() > q.percent();
  });
  std::string html =
      R"html(<section id="classes"><h2>Classes</h2>
<p>Share of each class's videos that were recognised, the best first.</p>
<div class="controls js"><label>Sort by <select id="sort"><option value="share">accuracy</option><option value="worst">accuracy, worst first</option><option value="name">name</option><option value="videos">number of videos</option></select></label> <label>Find <input id="find" type="search" autocomplete="off"></label></div>
<ol class="bars" id="bars">
)html";
  for (const int64_t c : order) {
    const Accuracy::Class& result = a.per_class[c];
    const std::string name = escaped(a.classes[c]);
    if (result.videos == 0) {
      html += fmt::format(
          R"html(<li class="bar none" data-name="{0}" data-share="-1" data-videos="0"><span class="name">{0}</span><span class="track"></span><span class="value">no video</span></li>
)html",
          name);
      continue;
    }
    html += fmt::format(
        R"html(<li class="bar" data-name="{0}" data-share="{1:.4f}" data-videos="{3}"><span class="name">{0}</span><span class="track"><span class="fill" style="width:{1:.2f}%"></span></span><span class="value">{1:.1f}&nbsp;% <small>{2}/{3}</small></span></li>
)html",
        name, result.percent(), result.correct, result.videos);
  }
  return html + "</ol></section>\n";
}

}  // namespace millrace::report
