#include "apps/flow/results.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "apps/support/text.h"
#include "core/error.h"

namespace millrace {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostPairsInText = 30;

// Not finite is null.
Json number(double v) { return std::isfinite(v) ? Json(v) : Json(); }

void put_shares(const FlowError& e, Json& json) {
  json["epe"] = number(e.mean());
  json["zero_flow_epe"] = number(e.zero_mean());
  json["over_1px"] = e.percent(e.over[0]);
  json["over_3px"] = e.percent(e.over[1]);
  json["over_5px"] = e.percent(e.over[2]);
  json["fl_all"] = e.percent(e.outliers);
  json["pixels"] = e.pixels;
  json["unknown_pixels"] = e.unknown;
}

std::string shares_text(const FlowError& e) {
  return fmt::format("EPE {:.4f} px, over 1 px {:.2f} %, 3 px {:.2f} %, 5 px {:.2f} %, Fl-all {:.2f} %",
                     e.mean(), e.percent(e.over[0]), e.percent(e.over[1]), e.percent(e.over[2]),
                     e.percent(e.outliers));
}

}  // namespace

Json ItemResult::to_json() const {
  Json list = Json::array();
  for (const PairError& p : pairs) {
    const FlowError& e = p.error;
    list.push_back({{"pair", p.number},
                    {"pixels", e.pixels},
                    {"unknown_pixels", e.unknown},
                    {"epe_sum", number(e.sum)},
                    {"zero_flow_epe_sum", number(e.zero_sum)},
                    {"pixels_over", {e.over[0], e.over[1], e.over[2]}},
                    {"fl_pixels", e.outliers}});
  }
  return {{"flows", flows}, {"pairs", list}};
}

ItemResult ItemResult::from_json(const std::string& name, const Json& json, const std::string& where) {
  ItemResult result{.name = name};
  const auto sum = [](const Json& v) { return v.is_null() ? std::nan("") : v.get<double>(); };
  try {
    result.flows = json.at("flows").get<int64_t>();
    for (const Json& p : json.at("pairs")) {
      PairError pair{.number = p.at("pair").get<int64_t>(), .error = {}};
      FlowError& e = pair.error;
      e.pixels = p.at("pixels").get<int64_t>();
      e.unknown = p.at("unknown_pixels").get<int64_t>();
      e.sum = sum(p.at("epe_sum"));
      e.zero_sum = sum(p.at("zero_flow_epe_sum"));
      e.over = p.at("pixels_over").get<std::array<int64_t, 3>>();
      e.outliers = p.at("fl_pixels").get<int64_t>();
      result.pairs.push_back(pair);
    }
  } catch (const Json::exception& e) {
    fail(ErrorKind::data, {where, "the results of a video", e.what(), "--overwrite makes it anew"});
  }
  return result;
}

FlowError FlowReport::total() const {
  FlowError sum;
  for (const ItemResult& item : items) {
    for (const PairError& pair : item.pairs) sum += pair.error;
  }
  return sum;
}

std::string FlowReport::json() const {
  Json result{{"items", items.size()},
              {"found_finished", found_finished},
              {"failed", bad.size()},
              {"bad", Json::array()}};
  for (const Bad& b : bad) result["bad"].push_back({{"name", b.name}, {"reason", b.reason}});
  int64_t flows = 0;
  Json pairs = Json::array();
  for (const ItemResult& item : items) {
    flows += item.flows;
    for (const PairError& pair : item.pairs) {
      Json line{{"item", item.name}, {"pair", pair.number}};
      put_shares(pair.error, line);
      pairs.push_back(line);
    }
  }
  result["flows"] = flows;
  if (const FlowError e = total(); e.pixels > 0) put_shares(e, result);
  if (!pairs.empty()) result["pairs"] = pairs;
  return result.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string FlowReport::text(const std::string& out) const {
  std::string text;
  int64_t flows = 0;
  size_t pairs = 0;
  for (const ItemResult& item : items) {
    flows += item.flows;
    pairs += item.pairs.size();
  }
  if (pairs > 1 && pairs <= kMostPairsInText) {
    for (const ItemResult& item : items) {
      for (const PairError& p : item.pairs)
        text += fmt::format("{} pair {}: {}\n", item.name, p.number, shares_text(p.error));
    }
  }
  if (!out.empty()) {
    text += fmt::format("{} of {} in {}", counted(flows, "flow"),
                        counted(static_cast<int64_t>(items.size()), "video"), out);
    text += found_finished > 0 ? fmt::format(" ({} finished before)\n", found_finished) : "\n";
  }
  if (const FlowError e = total(); e.pixels > 0) {
    text += fmt::format("{}\n", shares_text(e));
    text += fmt::format("zero flow has EPE {:.4f} px; over {} of {}, {} more are not known\n", e.zero_mean(),
                        counted(e.pixels, "pixel"), counted(static_cast<int64_t>(pairs), "pair"), e.unknown);
  }
  return text;
}

}  // namespace millrace
