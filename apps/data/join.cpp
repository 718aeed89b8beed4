#include "apps/data/join.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <vector>

#include "apps/actions/predict_streams.h"
#include "apps/support/text.h"
#include "core/error.h"
#include "core/log.h"
#include "core/run_dir.h"
#include "data/csv.h"

namespace millrace {
namespace {

// A tensor of a stream: named by its scope, or the MotionNet's below a stacked one.
bool belongs_to(const std::string& tensor, const StreamSpec& spec) {
  if (tensor.starts_with(scope_of(spec) + ".")) return true;
  return spec.kind == StreamKind::stacked && tensor.starts_with(spec.motionnet.scope + ".");
}

// find_streams knows that both name the same classes; here labels must agree as well.
void check_order(const std::vector<StreamFile>& streams) {
  const std::vector<std::string>&first = streams[0].spec.classes, &second = streams[1].spec.classes;
  const auto [a, b] = std::mismatch(first.begin(), first.end(), second.begin());
  if (a == first.end()) return;
  fail(ErrorKind::data,
       {streams[1].file->path().string(),
        fmt::format("the classes in the order of {}", streams[0].file->path().string()),
        fmt::format("{} as number {}, where that has {}", shown(*b), a - first.begin(), shown(*a)),
        "Train both on one list of classes (--classes), or give both files to twostream-predict"});
}

void write_joined(const std::filesystem::path& file, const std::vector<StreamFile>& streams) {
  SafetensorsContent content;
  std::map<std::string, const SafetensorsReader*> from;
  for (const StreamFile& stream : streams) {
    for (const TensorEntry& entry : stream.file->tensors()) {
      if (!belongs_to(entry.name, stream.spec)) continue;
      content.tensors.push_back(entry);
      from[entry.name] = stream.file.get();
    }
    content.metadata.merge(stream_metadata(stream.spec));
  }
  write_safetensors(file, content,
                    [&](const TensorEntry& entry, uint64_t offset, std::span<std::byte> chunk) {
                      from.at(entry.name)->read_bytes(entry.name, offset, chunk);
                    });
}

}  // namespace

void declare_join(CLI::App& app, JoinArguments& a) {
  app.add_option("SPATIAL", a.spatial, "the spatial stream: a .safetensors file, a checkpoint or a run")
      ->required();
  app.add_option("TEMPORAL", a.temporal, "the temporal or stacked stream, likewise")->required();
  app.add_option("--out", a.out, "folder of the new checkpoint")->required();
  app.footer(
      "writes OUT/model.safetensors with the weights, class names, sizes, normalisation and provenance of "
      "both\nstreams; twostream-predict and twostream-eval take the folder as --weights\n"
      "example:\n"
      "  millrace-data join runs/spatial runs/stacked --out recogniser");
}

int run_join(const JoinArguments& a) {
  if (a.out.empty()) fail(ErrorKind::usage, {"--out", "a folder", "''", ""});
  std::vector<StreamFile> streams = find_streams({a.spatial, a.temporal});
  if (streams.size() != 2) {
    fail(ErrorKind::usage, {"millrace-data join", "one stream in each of two files",
                            counted(static_cast<int64_t>(streams.size()), "stream"), ""});
  }
  check_order(streams);
  write_checkpoint(a.out,
                   [&](const std::filesystem::path& folder) { write_joined(folder / kModelFile, streams); });
  log_info(fmt::format("{}: {} and {} stream of {} classes", a.out, name_of(streams[0].spec.kind),
                       name_of(streams[1].spec.kind), streams[0].spec.classes.size()));
  return 0;
}

}  // namespace millrace
