#include "apps/actions/train_sources.h"

#include <fmt/format.h>

#include "apps/support/opening.h"
#include "apps/support/text.h"
#include "apps/training/hold_out.h"
#include "core/log.h"
#include "data/labels.h"

namespace millrace {
namespace {

SourcePtr open(const StreamTrainConfig& c, const std::string& spec, const std::vector<std::string>& classes) {
  SourceOptions options{.spec = spec,
                        .data_root = c.data_root,
                        .skip_missing = c.skip_missing,
                        .labelled = true,
                        .class_names = classes,
                        .classes_file = c.classes,
                        .label_base = parse_label_base(c.label_base),
                        .frame_size = {c.decode_height, c.decode_width}};
  if (parse_stream(c.stream).kind == StreamKind::temporal) {
    options.flow = true;
    options.flow_bound = c.flow_bound;
  }
  options.warn = [](const std::string& line) { log_warning(line); };
  options.progress = opening_bar();
  return open_source(options);
}

void tell_short(const ClipSource& source, int64_t frames, const char* what) {
  if (const int64_t count = short_items(source, frames); count > 0) {
    log_warning(fmt::format("{} of the {} shorter than a clip of {}: the last one is repeated",
                            counted(count, what), source.size(), frames));
  }
}

}  // namespace

StreamSources open_stream_sources(const StreamTrainConfig& c) {
  StreamSources sources;
  sources.train = open(c, c.data, {});
  if (!c.validation.empty()) {
    sources.validation = open(c, c.validation, sources.train->classes());
    if (const std::string shared = shared_videos_warning(*sources.train, *sources.validation);
        !shared.empty())
      log_warning("--validation: " + shared);
  } else if (c.hold_out > 0 && sources.train->size() > 1) {
    const HeldOut parts = hold_out_items(sources.train, c.hold_out);
    sources.train = parts.train;
    sources.validation = parts.validation;
  }
  const int64_t frames = clip_frames(stream_spec(c, sources.train->classes()));
  tell_short(*sources.train, frames, "training video");
  if (sources.validation) tell_short(*sources.validation, frames, "validation video");
  return sources;
}

}  // namespace millrace
