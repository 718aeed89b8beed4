// Curves of metrics.jsonl: read, thinned out and drawn.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/actions/report_html.h"
#include "core/files.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;
constexpr size_t kMostPoints = 300;  // more than a line of 640 pixels can show of steps

constexpr const char* kOwnChart[] = {"learning_rate", "gradient_norm"};

bool holds(std::string_view name, std::string_view part) { return name.find(part) != std::string_view::npos; }

// The chart that a curve is drawn in; empty for what is of no interest here, such as the single terms of a
// loss.
std::string chart_of(const std::string& name) {
  if (holds(name, "top1") || holds(name, "top5") || holds(name, "mean_class") || holds(name, "accuracy")) {
    return "Accuracy, %";
  }
  if (holds(name, "loss")) return "Loss";
  for (const char* own : kOwnChart) {
    if (name == own) return name == "learning_rate" ? "Learning rate" : "Norm of the gradient";
  }
  return {};
}

void thin_out(std::vector<std::pair<double, double>>& points) {
  if (points.size() <= kMostPoints) return;
  std::vector<std::pair<double, double>> means;
  for (size_t k = 0; k < kMostPoints; ++k) {
    const size_t begin = k * points.size() / kMostPoints, end = (k + 1) * points.size() / kMostPoints;
    double step = 0, value = 0;
    for (size_t p = begin; p < end; ++p) {
      step += points[p].first;
      value += points[p].second;
    }
    const auto count = static_cast<double>(end - begin);
    means.emplace_back(step / count, value / count);
  }
  points = std::move(means);
}

}  // namespace

std::vector<ReportCurve> read_curves(const std::filesystem::path& metrics, const std::string& run) {
  const std::string text = read_file(metrics, kMaxFileBytes);
  std::map<std::string, std::vector<std::pair<double, double>>> curves;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const auto line = nlohmann::json::parse(text.begin() + static_cast<ptrdiff_t>(begin),
                                            text.begin() + static_cast<ptrdiff_t>(end), nullptr, false);
    begin = end + 1;
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number()) continue;
    for (const auto& [name, value] : line.items()) {
      if (!value.is_number() || chart_of(name).empty()) continue;
      curves[name].emplace_back(line["step"].get<double>(), value.get<double>());
    }
  }
  std::vector<ReportCurve> result;
  for (auto& [name, points] : curves) {
    thin_out(points);
    result.push_back({.run = run, .name = name, .points = std::move(points)});
  }
  return result;
}

namespace report {
namespace {

constexpr double kWidth = 560, kHeight = 260, kLeft = 58, kRight = 12, kTop = 12, kBottom = 34;
constexpr int64_t kColours = 6;      // .line0 to .line5 of style.css
constexpr double kMostDrawn = 1e30;  // what is larger, or not finite, has no axis
constexpr size_t kMostMarked = 40;   // points that are drawn as dots too

// From `low` to `high` in steps of 1, 2 or 5 times a power of ten.
struct Axis {
  double low = 0, high = 1, step = .2;

  Axis(double least, double most, int64_t ticks) {
    if (!(most - least > 1e-9 * std::max(std::fabs(least), std::fabs(most)))) {  // as good as one value
      const double room = least == 0 ? 1 : std::fabs(least) * .1;
      least -= room;
      most += room;
    }
    const double rough = (most - least) / static_cast<double>(ticks);
    const double power = std::pow(10, std::floor(std::log10(rough)));
    step = power * (rough <= power ? 1 : rough <= 2 * power ? 2 : rough <= 5 * power ? 5 : 10);
    low = std::floor(least / step + 1e-9) * step;
    high = std::ceil(most / step - 1e-9) * step;
  }
  int64_t ticks() const { return std::llround((high - low) / step); }
  double tick(int64_t k) const { return low + step * static_cast<double>(k); }
  double part(double v) const { return (v - low) / (high - low); }
};

std::string tick_text(double v, const Axis& axis) {
  if (std::fabs(v) < axis.step * 1e-6) return "0";
  return fmt::format("{:.5g}", v);
}

double x_of(const Axis& axis, double v) { return kLeft + axis.part(v) * (kWidth - kLeft - kRight); }
double y_of(const Axis& axis, double v) {
  return kHeight - kBottom - axis.part(v) * (kHeight - kTop - kBottom);
}

std::string grid(const Axis& x, const Axis& y) {
  std::string html;
  for (int64_t k = 0; k <= y.ticks(); ++k) {
    const double at = y_of(y, y.tick(k));
    html += fmt::format(
        R"html(<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/><text class="y" x="{:.1f}" y="{:.1f}">{}</text>
)html",
        kLeft, kWidth - kRight, at, at, kLeft - 6, at + 4, tick_text(y.tick(k), y));
  }
  for (int64_t k = 0; k <= x.ticks(); ++k) {
    html += fmt::format(R"html(<text class="x" x="{:.1f}" y="{:.1f}">{}</text>
)html",
                        x_of(x, x.tick(k)), kHeight - 14., tick_text(x.tick(k), x));
  }
  return html + fmt::format(R"html(<text class="x" x="{:.1f}" y="{:.1f}">step</text>
)html",
                            (kLeft + kWidth) / 2, kHeight - 1.);
}

struct Range {
  double least = std::numeric_limits<double>::infinity(), most = -least;
  void add(double v) {
    least = std::min(least, v);
    most = std::max(most, v);
  }
};

std::string curve_name(const ReportCurve& curve, bool several_runs) {
  return several_runs && !curve.run.empty() ? curve.run + ": " + curve.name : curve.name;
}

std::string line(const ReportCurve& curve, int64_t colour, const Axis& x, const Axis& y) {
  std::string points, dots;
  for (const auto& [step, value] : curve.points) {
    points += fmt::format("{:.1f},{:.1f} ", x_of(x, step), y_of(y, value));
    if (curve.points.size() > kMostMarked) continue;
    dots += fmt::format(
        R"html(<circle class="line{}" cx="{:.1f}" cy="{:.1f}" r="2.5"><title>step {:.0f}: {:.5g}</title></circle>)html",
        colour, x_of(x, step), y_of(y, value), step, value);
  }
  return fmt::format(R"html(<polyline class="line{}" points="{}"/>{}
)html",
                     colour, points, dots);
}

std::string chart(const std::string& title, const std::vector<const ReportCurve*>& curves,
                  bool several_runs) {
  Range steps, values;
  for (const ReportCurve* curve : curves) {
    for (const auto& [step, value] : curve->points) {
      steps.add(step);
      values.add(value);
    }
  }
  const Axis x(steps.least, steps.most, 5), y(values.least, values.most, 5);
  std::string lines, legend;
  for (int64_t k = 0; k < std::ssize(curves); ++k) {
    lines += line(*curves[k], k % kColours, x, y);
    legend += fmt::format(
        R"html(<li><span class="swatch line{}"></span>{} <small>last {:.5g}</small></li>)html", k % kColours,
        escaped(curve_name(*curves[k], several_runs)), curves[k]->points.back().second);
  }
  return fmt::format(
      R"html(<figure class="chart"><figcaption>{}</figcaption><svg viewBox="0 0 {} {}" role="img" aria-label="{} over steps">
{}{}</svg><ul class="legend">{}</ul></figure>
)html",
      title, kWidth, kHeight, title, grid(x, y), lines, legend);
}

}  // namespace

std::string curves_section(const std::vector<ReportCurve>& curves) {
  std::map<std::string, std::vector<const ReportCurve*>> charts;
  bool several_runs = false;
  for (const ReportCurve& curve : curves) {
    const bool drawable = std::all_of(curve.points.begin(), curve.points.end(), [](const auto& p) {
      return std::fabs(p.first) < kMostDrawn && std::fabs(p.second) < kMostDrawn;
    });
    if (curve.points.empty() || !drawable) continue;
    const std::string title = chart_of(curve.name);
    charts[title.empty() ? escaped(curve.name) : title].push_back(&curve);
    several_runs = several_runs || curve.run != curves.front().run;
  }
  if (charts.empty()) return {};
  std::string html = R"html(<section id="training"><h2>Training</h2>
<div class="charts">
)html";
  for (const auto& [title, members] : charts) html += chart(title, members, several_runs);
  return html + "</div></section>\n";
}

}  // namespace report
}  // namespace millrace
