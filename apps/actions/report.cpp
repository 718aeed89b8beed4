#include "apps/actions/report.h"

#include <fmt/format.h>

#include "apps/actions/report_html.h"
#include "apps/support/text.h"
#include "core/error.h"

namespace millrace {

using report::escaped;
using report::percent_text;

namespace {

// All splits as one: counts are summed.
Accuracy all_splits(const ReportResult& result) {
  if (result.splits.empty()) fail(ErrorKind::usage, {"report", "a result of one split or more", "none", ""});
  Accuracy sum = result.splits[0];
  for (size_t s = 1; s < result.splits.size(); ++s) {
    const Accuracy& split = result.splits[s];
    if (split.classes != sum.classes) {
      fail(ErrorKind::usage,
           {"report", "the same classes in all splits", "others in split " + std::to_string(s + 1), ""});
    }
    sum.videos += split.videos;
    sum.correct += split.correct;
    sum.ties += split.ties;
    for (size_t k = 0; k < sum.confusion.size(); ++k) sum.confusion[k] += split.confusion[k];
    for (size_t k = 0; k < sum.per_class.size(); ++k) {
      sum.per_class[k].videos += split.per_class[k].videos;
      sum.per_class[k].correct += split.per_class[k].correct;
    }
  }
  return sum;
}

std::string views_text(const Protocol& protocol) {
  if (protocol.clips == 0 || protocol.crops == 0) return "The views that were averaged are not known.";
  const std::string views =
      fmt::format("{} × {}", counted(protocol.clips, "clip"), counted(protocol.crops, "crop"));
  return protocol.level == Level::video ? fmt::format("Scores averaged over {} a video.", views)
                                        : fmt::format("Each clip counts by itself; {} a video.", views);
}

std::string tile(const std::string& value, const std::string& name, const std::string& meaning) {
  return fmt::format(R"html(<div class="tile"><b>{}</b><code>{}</code><span>{}</span></div>
)html",
                     value, escaped(name), meaning);
}

std::string metric_or_mean(Metric metric, const ReportData& data) {
  return metric_name(metric, data.protocol) + (data.headline.splits.size() > 1 ? "/mean" : "");
}

std::string headline(const ReportData& data, const Accuracy& all) {
  const std::vector<Accuracy>& splits = data.headline.splits;
  const bool several = splits.size() > 1;
  const double top1 = *mean_over_splits(splits, Metric::top1);
  std::string counts = fmt::format("{} of {} recognised", all.correct, counted(all.videos, "video"));
  counts += several ? fmt::format(" in {} splits", splits.size())
                    : fmt::format("; 95 % interval {:.2f} to {:.2f}", all.interval.low, all.interval.high);
  std::string html = fmt::format(
      R"html(<header>
<p class="kicker">Action recognition, {}</p>
<h1>{}</h1>
<div class="headline"><b id="headline">{}</b><div><code>{}</code><p>{}.<br>{}</p></div></div>
<div class="tiles">
)html",
      escaped(data.headline.name), escaped(data.title), percent_text(top1),
      escaped(metric_or_mean(Metric::top1, data)), counts, views_text(data.protocol));
  html += tile(percent_text(*mean_over_splits(splits, Metric::mean_class)),
               metric_or_mean(Metric::mean_class, data), "mean of the classes' accuracies");
  if (const auto top5 = mean_over_splits(splits, Metric::top5)) {
    html += tile(percent_text(*top5), metric_or_mean(Metric::top5, data), "right class among the best five");
  }
  html += tile(std::to_string(all.videos), "videos", several ? "in all splits together" : "evaluated");
  html +=
      tile(std::to_string(all.classes.size()), "classes",
           all.empty_classes > 0 && !several ? fmt::format("{} of them without a video", all.empty_classes)
                                             : "to choose from");
  for (const ReportRate& rate : data.rates)
    html += tile(fmt::format("{:.4g}", rate.value), rate.unit, escaped(rate.counts));
  return html + "</div>\n</header>\n";
}

std::string result_row(const std::string& name, const std::vector<Accuracy>& splits, bool strong) {
  const auto value = [&](Metric metric) {
    const auto v = mean_over_splits(splits, metric);
    return v ? percent_text(*v) : std::string("–");
  };
  const bool one = splits.size() == 1;
  return fmt::format(
      R"html(<tr{}><th scope="row">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>
)html",
      strong ? " class=\"strong\"" : "", escaped(name), value(Metric::top1),
      one ? fmt::format("{:.2f} to {:.2f}", splits[0].interval.low, splits[0].interval.high) : "–",
      value(Metric::mean_class), value(Metric::top5));
}

// Streams and splits beside each other; nothing where there is one number alone.
std::string results_section(const ReportData& data) {
  if (data.others.empty() && data.headline.splits.size() == 1) return {};
  std::string html = fmt::format(
      R"html(<section id="results"><h2>Results</h2>
<div class="scroll" tabindex="0"><table><thead><tr><th></th><th>{}</th><th>95 % interval</th><th>{}</th><th>{}</th></tr></thead><tbody>
)html",
      metric_name(Metric::top1, data.protocol), metric_name(Metric::mean_class, data.protocol),
      metric_name(Metric::top5, data.protocol));
  const auto add = [&](const ReportResult& result, bool strong) {
    const bool several = result.splits.size() > 1;
    html += result_row(result.name + (several ? ", mean of splits" : ""), result.splits, strong);
    for (size_t k = 0; several && k < result.splits.size(); ++k) {
      html += result_row(fmt::format("{}, split {}", result.name, k + 1), {result.splits[k]}, false);
    }
  };
  add(data.headline, true);
  for (const ReportResult& other : data.others) add(other, false);
  return html + "</tbody></table></div></section>\n";
}

std::string notes_section(const ReportData& data, const Accuracy& all) {
  std::vector<std::string> notes;
  if (!data.broken.empty()) {
    notes.push_back(
        fmt::format("{} could not be read and {} in no number:", counted(std::ssize(data.broken), "video"),
                    data.broken.size() == 1 ? "is" : "are"));
    notes.back() += "<ul>";
    for (const auto& b : data.broken) {
      notes.back() += fmt::format("<li><code>{}</code>: {}</li>", escaped(b.video), escaped(b.reason));
    }
    notes.back() += "</ul>";
  }
  if (data.seen_in_training > 0) {
    notes.push_back(fmt::format("{} of the test {} in the training list too: the numbers are too good.",
                                counted(data.seen_in_training, "video"),
                                data.seen_in_training == 1 ? "is" : "are"));
  }
  if (data.short_videos > 0) {
    notes.push_back(fmt::format("{} {} shorter than a clip: the last frame was repeated.",
                                counted(data.short_videos, "video"), data.short_videos == 1 ? "is" : "are"));
  }
  if (data.identical_clips > 0) {
    notes.push_back(fmt::format(
        "{} of short videos, equal to others, computed once and counted as often as the protocol has them.",
        counted(data.identical_clips, "clip")));
  }
  if (all.ties > 0) {
    notes.push_back(
        fmt::format("{} with a best score that several classes share: the first of them is the answer.",
                    counted(all.ties, "video")));
  }
  for (const std::string& note : data.notes) notes.push_back(escaped(note));
  if (notes.empty()) return {};
  std::string html = R"html(<section id="notes"><h2>To know about these numbers</h2>
<ul>
)html";
  for (const std::string& note : notes) html += "<li>" + note + "</li>\n";
  return html + "</ul></section>\n";
}

std::string origin_section(const ReportData& data) {
  if (data.provenance.empty() && data.command.empty()) return {};
  std::string html = R"html(<section id="origin"><h2>Where this comes from</h2>
<dl>
)html";
  for (const auto& [what, text] : data.provenance) {
    html += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escaped(what), escaped(text));
  }
  html += "</dl>\n";
  if (!data.command.empty())
    html += fmt::format(R"html(<pre tabindex="0">{}</pre>
)html",
                        escaped(data.command));
  return html + "</section>\n";
}

// Nothing is loaded from anywhere, whatever a name holds.
constexpr const char* kPolicy =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri "
    "'none'; form-action 'none'";

}  // namespace

std::string report_html(const ReportData& data) {
  const Accuracy all = all_splits(data.headline);
  std::string html = fmt::format(
      R"html(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{} – {}</title>
<style>
{}</style>
</head>
<body>
<main>
)html",
      kPolicy, percent_text(*mean_over_splits(data.headline.splits, Metric::top1)), escaped(data.title),
      report::kStyle);
  html += headline(data, all) + results_section(data) + notes_section(data, all) +
          report::matrix_section(all) + report::classes_section(all) +
          report::mistakes_section(data.mistakes) + report::curves_section(data.curves) +
          origin_section(data);
  html += fmt::format("</main>\n<footer>millrace {}</footer>\n<script>\n{}</script>\n</body>\n</html>\n",
                      escaped(data.version), report::kScript);
  return html;
}

}  // namespace millrace
