// twostream-predict behind its command line.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/actions/predict_result.h"
#include "apps/actions/predict_settings.h"
#include "apps/actions/predict_views.h"
#include "apps/training/kernel_settings.h"

namespace millrace {

class PredictProgram {
 public:
  // `settings` are checked, and outlive this.
  explicit PredictProgram(const PredictSettings& settings);
  // Returns the exit code.
  int run();

 private:
  struct Item {
    SourcePtr source;
    int64_t item = 0;
    std::string name;  // unlike the others
  };
  struct Outputs;  // what is gathered of a video while its windows come in

  void find_rules();
  void open_inputs();
  void add_items(const SourcePtr& source);
  void open_flow();
  void make_recognizers();
  Footage footage_of(const Item& item) const;
  WindowSteps steps_of(const Item& item, Prediction& prediction) const;
  void predict(const Item& item);
  bool run_windows(const Footage& footage, const Prediction& prediction, Outputs& outputs);
  void take(WindowLogits&& window, Outputs& outputs) const;
  void write_files(Prediction& prediction, Outputs& outputs) const;
  void tell(const Prediction& prediction);
  void fail_item(const std::string& name, const std::string& reason);
  int finish() const;

  const PredictSettings& s_;
  std::unique_ptr<Device> device_;
  KernelSettings kernels_;
  std::vector<StreamFile> streams_;
  PredictionRules rules_;
  Screen screen_;
  std::vector<Item> items_;
  std::map<std::string, int64_t> names_;  // how many items have asked for a name
  SourcePtr flow_;
  std::vector<std::unique_ptr<Recognizer>> recognizers_;
  std::unique_ptr<ViewRunner> runner_;
  struct Bad {
    std::string name, reason;
  };
  std::vector<Bad> bad_;
  int64_t told_ = 0;
};

}  // namespace millrace
