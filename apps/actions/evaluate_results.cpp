#include "apps/actions/evaluate_results.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/support/text.h"
#include "core/files.h"
#include "core/log.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kNamedBroken = 20;

fs::path folder_of(const fs::path& out, size_t split, size_t splits) {
  return splits == 1 ? out : out / fmt::format("split{}", split + 1);
}

}  // namespace

void EvalResults::measure() {
  fused.clear();
  results.clear();
  if (rule) {
    ReportResult both{
        .name = fmt::format("fused: {}, {}", fusion_name(rule->fusion), weights_text(rule->weights)),
        .splits = {}};
    for (const EvalSplit& split : splits) {
      fused.push_back(fuse(split.streams, *rule));
      both.splits.push_back(accuracy(fused.back().scores));
    }
    results.push_back(std::move(both));
  }
  for (size_t k = 0; k < streams.size(); ++k) {
    ReportResult one{.name = streams[k], .splits = {}};
    for (const EvalSplit& split : splits) one.splits.push_back(accuracy(split.streams[k]));
    results.push_back(std::move(one));
  }
}

int64_t EvalResults::sum(int64_t EvalSplit::*member) const {
  int64_t total = 0;
  for (const EvalSplit& split : splits) total += split.*member;
  return total;
}

std::string EvalResults::share_flow_note() const {
  if (!share_flow) return {};
  const int64_t flips = protocol.crops % 2 == 0 ? 2 : 1;
  return fmt::format(
      "--share-flow: MotionNet ran {} a clip on the whole frame instead of {} on crops. Flow near a crop's "
      "border is computed with what lies beyond it, and the dark ring that each crop's flow input has at its "
      "border otherwise is missing, so the scores are not those of the paper's protocol to the last digit.",
      flips == 1 ? "once" : "twice, once of it mirrored,", counted(protocol.crops, "time"));
}

json EvalResults::json() const {
  nlohmann::json j = accuracy_json(results.front().splits, protocol);
  if (rule) {
    j["fusion"] = fusion_name(rule->fusion);
    j["weights"] = rule->weights;
    j["streams"] = nlohmann::json::array();
    for (size_t k = 0; k < streams.size(); ++k) {
      nlohmann::json alone = accuracy_json(results[k + 1].splits, protocol);
      alone["name"] = streams[k];
      int64_t without_positive = 0;
      for (const Fused& f : fused) without_positive += f.without_positive[k];
      alone["without_positive"] = without_positive;
      j["streams"].push_back(std::move(alone));
    }
  }
  nlohmann::json broken = nlohmann::json::array();
  for (const EvalSplit& split : splits) {
    for (const auto& b : split.broken)
      broken.push_back({{"data", split.spec}, {"video", b.video}, {"reason", b.reason}});
  }
  j["broken"] = std::move(broken);
  j["short_videos"] = sum(&EvalSplit::short_videos);
  j["identical_clips"] = sum(&EvalSplit::identical_clips);
  j["seen_in_training"] = sum(&EvalSplit::seen_in_training);
  j["share_flow"] = share_flow;
  j["views"] = speed.views;
  if (speed.motionnet_runs > 0) j["motionnet_clips"] = speed.motionnet_runs;
  if (speed.views > 0 && speed.seconds > 0) {
    j["views_per_second"] = speed.views_per_second();
    j["videos_per_second"] = speed.videos_per_second();
    j["outside_network"] = speed.outside_network();
  }
  return j;
}

std::string EvalResults::text(const fs::path& out) const {
  std::string text;
  for (const ReportResult& result : results)
    text += (results.size() > 1 ? result.name + "\n" : "") + accuracy_text(result.splits, protocol);
  const auto tell = [&](int64_t count, const std::string& line) {
    if (count > 0) text += line + "\n";
  };
  tell(sum(&EvalSplit::identical_clips),
       fmt::format("{} of short videos were computed once",
                   counted(sum(&EvalSplit::identical_clips), "identical clip")));
  tell(sum(&EvalSplit::short_videos), fmt::format("{} shorter than a clip: the last frame was repeated",
                                                  counted(sum(&EvalSplit::short_videos), "video")));
  tell(sum(&EvalSplit::seen_in_training), fmt::format("{} of the test were seen in training",
                                                      counted(sum(&EvalSplit::seen_in_training), "video")));
  if (share_flow) text += share_flow_note() + "\n";
  if (speed.views > 0 && speed.seconds > 0) {
    text += fmt::format(
        "{:.3g} views/s ({} in {:.1f} s, decoding included), {:.3g} videos/s, {:.1f} % of the time "
        "outside the network\n",
        speed.views_per_second(), counted(speed.views, "view"), speed.seconds, speed.videos_per_second(),
        100 * speed.outside_network());
  }
  for (const EvalSplit& split : splits) {
    if (split.broken.empty()) continue;
    text += fmt::format("{} of {} could not be read and {} in no number:\n",
                        counted(static_cast<int64_t>(split.broken.size()), "video"), split.spec,
                        split.broken.size() == 1 ? "is" : "are");
    for (size_t k = 0; k < std::min(split.broken.size(), kNamedBroken); ++k)
      text += fmt::format("  {}: {}\n", split.broken[k].video, split.broken[k].reason);
    if (split.broken.size() > kNamedBroken)
      text += fmt::format("  and {} more\n", split.broken.size() - kNamedBroken);
  }
  return text + "written to " + out.string() + "\n";
}

void EvalResults::write(const fs::path& out) const {
  for (size_t split = 0; split < splits.size(); ++split) {
    const fs::path folder = folder_of(out, split, splits.size());
    for (size_t k = 0; k < streams.size(); ++k) {
      const fs::path of_stream = streams.size() == 1 ? folder : folder / streams[k];
      make_folders(of_stream);
      write_file_atomically(of_stream / "scores.csv", scores_csv(splits[split].streams[k]));
    }
    if (rule) write_file_atomically(folder / "fused.csv", scores_csv(fused[split].scores));
  }
  write_file_atomically(out / "metrics.json", json().dump(1) + "\n");
}

}  // namespace millrace
