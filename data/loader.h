// Batches of clips, prepared by threads ahead of their use. Which samples come in which order, and every byte
// of them, depends on the source, the seed and the sample's number alone: not on threads, time or where a run
// was interrupted.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "data/geometry.h"
#include "data/source.h"

namespace millrace {

struct LoaderOptions {
  int64_t batch = 8;   // N
  int64_t frames = 2;  // T
  GeometryOptions geometry = {};
  uint64_t seed = 1;
  int64_t threads = 2;
  int64_t slots = 3;           // batches in memory, of which the caller holds one
  bool want_truth = false;     // unknown flow (flow.h) where the source has none
  bool want_labels = false;    // an error where the source has none
  bool shuffle = true;         // a new order of the items each epoch; else the source's order
  int64_t clips_per_item = 1;  // in an epoch (data/sampler.h)
  bool random_start = true;    // else the clip of centre_start
  // Samples numbered this or higher do not exist; the last batch may be partial. 0: no end.
  int64_t end = 0;
};

// Valid until the next call of next() or seek(), or the loader's end.
struct Batch {
  int64_t first_sample = 0;
  int64_t count = 0;  // samples, N but in the last batch before `end`; the rest of the memory is zero
  const uint8_t* frames = nullptr;  // (N,H,W,3T), channels frame-major: B0 G0 R0 B1 ...; of flow (N,H,W,2T):
                                    // x0 y0 x1 ...
  const float* truth = nullptr;     // (N,H,W,2(T-1)), channels u0 v0 u1 ...; null unless wanted
  const int32_t* labels = nullptr;  // (N) classes from 0; null unless wanted
};

class Loader {
 public:
  Loader(SourcePtr source, const LoaderOptions& options);
  ~Loader();  // stops the threads, wherever they are
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The next batch. Rethrows the error of its first sample that failed; the call after that goes on behind
  // it. After the last batch before `end`: count 0.
  Batch next();
  // The next batch begins with this sample.
  void seek(int64_t sample);
  // Where the next batch begins: what a checkpoint stores.
  int64_t position() const;
  int64_t samples_per_epoch() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
