// --on-diverge restart: a run whose loss is not finite goes back to its latest checkpoint and takes smaller
// steps for a while, which is the authors' cure for end-to-end training that diverges at its start ("rerun,
// or lower the rate for the first 500 iterations"; Hidden-Two-Stream's README and issue 29).
//
// The restarts of a run are kept in its folder, so that a resumed run takes the same rates.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace millrace {

struct Restart {
  int64_t from = 0;      // step that the run went back to
  int64_t diverged = 0;  // step that was not finite
  bool operator==(const Restart&) const = default;
};

constexpr int64_t kMostRestarts = 3;
// So many steps behind a restart have a tenth of the rate; what follows has the schedule's again.
constexpr int64_t kSlowSteps = 500;
constexpr double kSlowFactor = .1;

// Of the learning rate at a step, counted from 1: kSlowFactor for each restart not further behind.
double restart_factor(const std::vector<Restart>& restarts, int64_t step);

// restarts.json in the run's folder; none: no restarts. Errors (data): not what write_restarts made.
std::vector<Restart> read_restarts(const std::filesystem::path& run);
void write_restarts(const std::filesystem::path& run, const std::vector<Restart>& restarts);

}  // namespace millrace
