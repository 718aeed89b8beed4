#include "data/weights/caffemodel.h"

#include "tests/unit/weights.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;
using Lines = std::vector<std::string>;

TEST_CASE("a .caffemodel's layers come in three forms") {
  const WeightFilePtr file = open_weights(corpus("caffemodel/layers-of-2015"));
  CHECK(file->format() == "caffemodel");
  CHECK(tensors_of(*file) == Lines{"conv1.weight F32 [2,3,1,2]", "conv1.bias F32 [2]", "fc8.weight F64 [2,3]",
                                   "fc8.bias F32 [2]", "bn1.blob0 F32 [2]", "bn1.blob1 F32 [2]",
                                   "bn1.blob2 F32 [1]"});
  CHECK(values_of(*file, "conv1.weight") == quarters(12));
  CHECK(values_of(*file, "fc8.weight") == quarters(6));
  CHECK(values_of(*file, "bn1.blob2") == std::vector<double>{9});
  for (const char* name : {"caffemodel/layers-of-2014", "caffemodel/layers-of-2013"}) {
    INFO(name);
    const WeightFilePtr old = open_weights(corpus(name));
    CHECK(tensors_of(*old) == Lines{"conv1.weight F32 [2,3,1,2]", "conv1.bias F32 [2]",
                                    "fc8.weight F32 [2,3]", "fc8.bias F32 [2]"});
    CHECK(values_of(*old, "conv1.weight") == quarters(12));
    CHECK(values_of(*old, "fc8.bias") == std::vector<double>{3, 4});
    CHECK(values_of(*old, "fc8.weight") == quarters(6));
  }
}

TEST_CASE("values that are not packed are values") {
  CHECK(values_of(*open_weights(corpus("caffemodel/values-one-by-one")), "conv1.weight") ==
        std::vector<double>{1, 2});
}

TEST_CASE("lengths and shapes of a .caffemodel are held against the file") {
  CHECK_THAT(refusal_of("caffemodel/layer-longer-than-the-file"), Contains("1099511627776 bytes"));
  CHECK_THAT(refusal_of("caffemodel/layer-of-2-64"), Contains("18446744073709551615 bytes"));
  CHECK_THAT(refusal_of("caffemodel/number-too-long"), Contains("at most 10 bytes"));
  CHECK_THAT(refusal_of("caffemodel/data-longer-than-its-layer"), Contains("no such protobuf message"));
  CHECK_THAT(refusal_of("caffemodel/string-longer-than-its-layer"), Contains("no such protobuf message"));
  CHECK_THAT(refusal_of("caffemodel/fewer-values-than-the-shape"), Contains("[3]") && Contains("2 floats"));
  CHECK_THAT(refusal_of("caffemodel/shape-overflows"), Contains("[4611686018427387904,"));
  CHECK_THAT(refusal_of("caffemodel/negative-extent"), Contains("[-1,-2]"));
  CHECK_THAT(refusal_of("caffemodel/name-twice"), Contains("'fc8.weight' twice"));
  CHECK_THAT(refusal_of("caffemodel/floats-and-doubles"), Contains("1 floats and 1 doubles"));
  CHECK_THAT(refusal_of("caffemodel/control-in-a-name"), Contains("'a?[2J?'"));
  CHECK_THAT(refusal_of("caffemodel/group-wire-type"), Contains("wire type 3"));
}

TEST_CASE("a .caffemodel cut between two layers is a smaller one, anywhere else it is refused") {
  require_cuts_refused("caffemodel/layers-of-2015", true);
  require_cuts_refused("caffemodel/layers-of-2014", true);
}
