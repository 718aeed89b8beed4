// millrace-data synth --actions: labelled clips (data/actions.h) as videos in folders of classes, with lists
// as UCF101 has them.
#pragma once

#include "apps/data/synth.h"

namespace CLI {
class App;
}

namespace millrace {

void declare_synth_actions(CLI::App& app, SynthArguments& arguments);
int run_synth_actions(const SynthArguments& arguments);

}  // namespace millrace
