// The most confident mistakes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/actions/report_html.h"
#include "data/encode.h"

namespace millrace {
namespace {

constexpr size_t kGuesses = 3;  // classes that a mistake shows
constexpr int kQuality = 85;

std::string base64(std::string_view bytes) {
  constexpr const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t k = 0; k < bytes.size(); k += 3) {
    const size_t there = std::min<size_t>(3, bytes.size() - k);
    uint32_t word = 0;
    for (size_t b = 0; b < 3; ++b) word = word << 8U | (b < there ? static_cast<uint8_t>(bytes[k + b]) : 0U);
    for (size_t d = 0; d < 4; ++d) text += d > there ? '=' : kDigits[word >> (18 - 6 * d) & 63U];
  }
  return text;
}

}  // namespace

ReportPicture report_picture(const Image& image, const std::string& caption, int64_t width) {
  const bool large = image.width > width;
  const Size size =
      large ? Size{std::max<int64_t>(1, image.height * width / image.width), width} : image.size();
  return {.caption = caption,
          .type = "image/jpeg",
          .bytes = encode_jpeg(large ? resize_area(image, size) : image, kQuality),
          .size = size};
}

std::vector<double> score_shares(std::span<const float> scores, LateFusion kind) {
  std::vector<double> shares(scores.begin(), scores.end());
  const double largest = *std::max_element(shares.begin(), shares.end());
  double sum = 0;
  for (double& v : shares) sum += v = kind == LateFusion::logits ? std::exp(v - largest) : std::max(v, 0.);
  for (double& v : shares) v = sum > 0 ? v / sum : 0;
  return shares;
}

namespace {

ReportMistake mistake_of(const Scores& scores, const Scores::Row& row, LateFusion kind) {
  const std::vector<int64_t> order = ranking(row.logits);
  const std::vector<double> shares = score_shares(row.logits, kind);
  const auto label = std::find(scores.classes.begin(), scores.classes.end(), row.label);
  ReportMistake mistake{.video = row.video, .label = row.label, .answer = scores.classes[order[0]]};
  if (label != scores.classes.end()) mistake.label_share = shares[label - scores.classes.begin()];
  for (size_t k = 0; k < std::min(kGuesses, order.size()); ++k) {
    mistake.best.push_back({scores.classes[order[k]], shares[order[k]]});
  }
  return mistake;
}

}  // namespace

std::vector<ReportMistake> confident_mistakes(const Scores& scores, LateFusion kind, int64_t most) {
  struct Found {
    const Scores::Row* row;
    double share;  // of the answer
  };
  std::vector<Found> found;
  for (const Scores::Row& row : scores.rows) {
    const int64_t answer = best_class(row.logits);
    if (scores.classes[answer] != row.label) found.push_back({&row, score_shares(row.logits, kind)[answer]});
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Found& a, const Found& b) { return a.share > b.share; });
  if (std::ssize(found) > most) found.resize(static_cast<size_t>(most));
  std::vector<ReportMistake> mistakes;
  for (const Found& f : found) mistakes.push_back(mistake_of(scores, *f.row, kind));
  return mistakes;
}

namespace report {
namespace {

std::string guess(const std::string& name, double share, const char* kind) {
  return fmt::format(
      R"html(<li class="bar"><span class="name">{}</span><span class="track"><span class="fill {}" style="width:{:.2f}%"></span></span><span class="value">{:.1f}&nbsp;%</span></li>
)html",
      escaped(name), kind, 100 * share, 100 * share);
}

std::string card(const ReportMistake& m) {
  std::string html = R"html(<article class="mistake">
)html";
  if (!m.pictures.empty()) {
    html += R"html(<div class="pictures">)html";
    for (const ReportPicture& p : m.pictures) {
      html += fmt::format(
          R"html(<figure><img src="data:{};base64,{}" alt="{} of {}" width="{}" height="{}"><figcaption>{}</figcaption></figure>)html",
          escaped(p.type), base64(p.bytes), escaped(p.caption), escaped(m.video), p.size.width, p.size.height,
          escaped(p.caption));
    }
    html += "</div>\n";
  }
  html += fmt::format(
      R"html(<h3>{} <span class="arrow">taken for</span> {}</h3>
<p class="video">{}</p>
<ol class="bars">
)html",
      escaped(m.label), escaped(m.answer), escaped(m.video));
  bool with_label = false;
  for (const ReportMistake::Guess& g : m.best) {
    html += guess(g.name, g.share, g.name == m.label ? "right" : "wrong");
    with_label = with_label || g.name == m.label;
  }
  if (!with_label) html += guess(m.label, m.label_share, "right");
  return html + "</ol></article>\n";
}

}  // namespace

std::string mistakes_section(const std::vector<ReportMistake>& mistakes) {
  if (mistakes.empty()) return {};
  std::string html =
      R"html(<section id="mistakes"><h2>Most confident mistakes</h2>
<p>Wrong answers in the order of their share of the score.</p>
<p><span class="key right"></span>the right class <span class="key wrong"></span>another class</p>
<div class="mistakes">
)html";
  for (const ReportMistake& m : mistakes) html += card(m);
  return html + "</div></section>\n";
}

}  // namespace report
}  // namespace millrace
