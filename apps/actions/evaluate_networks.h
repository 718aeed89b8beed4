// The networks of an evaluation: one stream's, as the protocol feeds it.
#pragma once

#include <memory>
#include <vector>

#include "apps/actions/recognizer.h"
#include "apps/actions/view_batches.h"

namespace millrace {

// What is written by any thread, and run by one.
class ViewNetwork : public ViewFormat {
 public:
  virtual const StreamSpec& spec() const = 0;
  // Mean logits of the views of each input: count x classes. An input's weight is how many views it is.
  virtual std::vector<float> run(const uint8_t* inputs, int64_t count) = 0;
  // How often one input takes VGG16 through its layers.
  virtual int64_t computed_views() const { return 1; }
};

struct ViewNetworkOptions {
  int64_t crops = 10;
  RecognizerOptions recognizer = {};  // its batch is views
};

// Each crop by itself through the whole network: an input is a view.
std::shared_ptr<ViewNetwork> make_crop_network(const SafetensorsReader& file, const StreamSpec& spec,
                                               Device& device, const ViewNetworkOptions& options);

}  // namespace millrace
