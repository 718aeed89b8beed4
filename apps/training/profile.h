// --profile: where the time of some training steps goes, as a trace, and names for phases of the host.
//
// The first steps of a process are left out (kWarmUpSteps), those after them are timed as a whole
// (kWholeSteps), as they always run; then follow the traced ones, node by node. What they compute is the
// same.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/session.h"
#include "core/trace.h"

namespace millrace {

struct ProfileOptions {
  int64_t steps = 0;  // to be traced; 0: none, phases are named for profilers all the same
  std::filesystem::path file = {};
  std::string precision = {};
};

class Profile {
 public:
  static constexpr int64_t kWarmUpSteps = Session::kWarmUpRuns + 1, kWholeSteps = 3;
  static constexpr int64_t kMaxSteps = 1000;  // some 100 KB each
  enum Track { loader, host, device };

  Profile(Device& device, ProfileOptions options);

  // What the host does until the object goes; of a loader's track: waits for it.
  class Phase {
   public:
    Phase(Profile& profile, const char* name, Track track = host);
    Phase(const Phase&) = delete;
    Phase& operator=(const Phase&) = delete;
    ~Phase();

   private:
    Profile& profile_;
    const char* name_;
    Track track_;
    HostClock::time_point begin_;
    NamedRange range_;
  };

  // All that follows belongs to it, until the next begins or finish(). Steps count from 1.
  void begin_step(int64_t step);
  // session.run(), timed where the step is.
  void run(Session& session, const std::string& plan);
  // The run ends. Writes the trace, unless it is written; a disk that has no room for it ends no run.
  void finish();

 private:
  enum class Mode { off, whole, traced };

  void end_step();
  void add_nodes(const Plan& plan, const std::string& name, const StepTimes& times);
  void write();

  Device& device_;
  ProfileOptions options_;
  Mode mode_ = Mode::off;
  bool written_ = false, recorded_ = false;
  int64_t begun_ = 0, step_ = 0;
  HostClock::time_point step_begin_;
  double seconds_ = 0;  // that the device took for the step so far
  std::vector<double> whole_, traced_;
  std::unique_ptr<Timer> timer_;
  Trace trace_;
};

}  // namespace millrace
