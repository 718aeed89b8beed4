#include "data/weights/torch_file.h"

#include "tests/unit/weights.h"

using namespace millrace;
using namespace millrace::test;
using Catch::Matchers::Contains;
using Lines = std::vector<std::string>;

TEST_CASE("a state_dict comes out of both formats and of every protocol") {
  for (const char* name : {"torch/zip", "torch/stream", "torch/zip-protocol-4", "torch/stream-protocol-5"}) {
    INFO(name);
    const WeightFilePtr file = open_weights(corpus(name));
    const bool zip = std::string(name).find("zip") != std::string::npos;
    CHECK(file->format() == (zip ? "pytorch" : "pytorch-stream"));
    CHECK(tensors_of(*file) == Lines{"features.0.weight F32 [2,3,2,2]", "features.0.bias F32 [2]"});
    CHECK(values_of(*file, "features.0.weight") == quarters(24));
    CHECK(values_of(*file, "features.0.bias") == quarters(2));
  }
}

TEST_CASE("tensors in nested dicts and lists have their paths for names") {
  for (const char* name : {"torch/zip-nested", "torch/stream-nested"}) {
    INFO(name);
    const WeightFilePtr file = open_weights(corpus(name));
    CHECK(tensors_of(*file) == Lines{"state_dict.module.half F16 [2,3]", "state_dict.module.double F64 [3]",
                                     "state_dict.module.brain BF16 [2,2]", "state_dict.module.steps I64 []",
                                     "state_dict.module.mask BOOL [2]",
                                     "optimizer.state.0.momentum_buffer F32 [2,3]"});
    CHECK(values_of(*file, "state_dict.module.half") == quarters(6));
    CHECK(values_of(*file, "state_dict.module.double") == quarters(3));
    CHECK(values_of(*file, "state_dict.module.brain") == quarters(4));
    CHECK(values_of(*file, "state_dict.module.steps") == std::vector<double>{7});
    CHECK(values_of(*file, "state_dict.module.mask") == std::vector<double>{1, 0});
  }
}

TEST_CASE("views of one storage are read as they are seen, whatever their strides") {
  for (const char* name : {"torch/zip-strided", "torch/stream-strided"}) {
    INFO(name);
    const WeightFilePtr file = open_weights(corpus(name));
    CHECK(tensors_of(*file) == Lines{"base F32 [4,6]", "transposed F32 [6,4]", "inner F32 [2,3]",
                                     "columns F32 [4,3]", "repeated F32 [3,2]", "empty F32 [0,4]",
                                     "scalar F32 []"});
    std::vector<double> transposed;
    for (int column = 0; column < 6; ++column)
      for (int row = 0; row < 4; ++row) transposed.push_back((row * 6 + column) / 4.0);
    CHECK(values_of(*file, "base") == quarters(24));
    CHECK(values_of(*file, "transposed") == transposed);
    CHECK(values_of(*file, "inner") == std::vector<double>{2, 2.25, 2.5, 3.5, 3.75, 4});
    CHECK(values_of(*file, "columns") == std::vector<double>{0, .5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5});
    CHECK(values_of(*file, "repeated") == std::vector<double>{0, 0, 1, 1, 2, 2});
    CHECK(values_of(*file, "empty").empty());
    CHECK(values_of(*file, "scalar") == std::vector<double>{3.75});
    std::vector<double> part(3);
    file->read(1, 5, part);  // in the middle of the transposed one
    CHECK(part == std::vector<double>(transposed.begin() + 5, transposed.begin() + 8));
  }
}

TEST_CASE("a parameter is its tensor, and a file may hold one tensor alone") {
  CHECK(values_of(*open_weights(corpus("torch/zip-parameter")), "w") == quarters(3));
  CHECK(values_of(*open_weights(corpus("torch/zip-one-tensor")), "tensor") == quarters(3));
  CHECK(values_of(*open_weights(corpus("torch/good-by-hand")), "w") == std::vector<double>{1, 2, 3, 4});
}

TEST_CASE("a pickle that wants to run something is refused, and what it wants is named") {
  CHECK_THAT(refusal_of("torch/runs-a-command"),
             Contains("wants to run 'os.system'") && Contains("state_dict"));
  CHECK_THAT(refusal_of("torch/runs-a-command-of-protocol-4"), Contains("wants to run 'posix.system'"));
  CHECK_THAT(refusal_of("torch/zip-model"), Contains("'torch.nn.modules.linear.Linear'"));
  CHECK_THAT(refusal_of("torch/stream-model"), Contains("'torch.nn.modules.linear.Linear'"));
  CHECK_THAT(refusal_of("torch/torchscript"), Contains("TorchScript") && Contains("torch.jit.load"));
}

TEST_CASE("a pickle's numbers are held against the file") {
  CHECK_THAT(refusal_of("torch/strides-behind-the-end"),
             Contains("strides [3,1]") && Contains("among the 4"));
  CHECK_THAT(refusal_of("torch/offset-behind-the-end"), Contains("offset 1"));
  CHECK_THAT(refusal_of("torch/negative-stride"), Contains("strides, 0 or more") && Contains("-2"));
  CHECK_THAT(refusal_of("torch/shape-overflows"), Contains("[4611686018427387904,4611686018427387904]"));
  CHECK_THAT(refusal_of("torch/repeated-2-40-times"), Contains("[1099511627776]"));
  CHECK_THAT(refusal_of("torch/storage-of-2-62"),
             Contains("4611686018427387904 F32") && Contains("16 bytes"));
  CHECK_THAT(refusal_of("torch/stream-storage-of-2-61"), Contains("2305843009213693952 F32 values"));
  CHECK_THAT(refusal_of("torch/no-storage"), Contains("storage '1'"));
  CHECK_THAT(refusal_of("torch/string-of-2-63"), Contains("9223372036854775808 bytes"));
  CHECK_THAT(refusal_of("torch/stands-for-itself"), Contains("deeper"));
  CHECK_THAT(refusal_of("torch/doubles-a-list"), Contains("deeper"));
  CHECK_THAT(refusal_of("torch/deep"), Contains("deeper"));
  CHECK_THAT(refusal_of("torch/empty-pickle"), Contains("an instruction of a pickle"));
}

TEST_CASE("an archive that is damaged, compressed or cut is refused") {
  CHECK_THAT(refusal_of("torch/one-bit-of-data"), Contains("CRC-32") && Contains("archive/data/0"));
  CHECK_THAT(refusal_of("torch/compressed"), Contains("a compressed or"));
  CHECK_THAT(refusal_of("torch/no-folder"), Contains("data.pkl in its folder"));
  for (const char* name : {"torch/zip", "torch/stream", "torch/zip-strided", "torch/stream-nested"})
    require_cuts_refused(name, false);
}

TEST_CASE("files that people take for weights are called by their names") {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::string& bytes) {
    write_file_atomically(folder / "x.pth", bytes);
    return message_of([&] { open_weights(folder / "x.pth"); });
  };
  CHECK_THAT(refusal(""), Contains("an empty file"));
  CHECK_THAT(refusal("<!DOCTYPE html>"), Contains("a web page"));
  CHECK_THAT(refusal("version https://git-lfs.github.com/spec/v1\n"), Contains("Git LFS"));
  CHECK_THAT(refusal("name: \"VGG\"\n"), Contains(".prototxt"));
  CHECK_THAT(refusal("\x89HDF\r\n\x1a\n"), Contains("HDF5"));
  CHECK_THAT(refusal("hello\x1b[2J"), Contains("'hello?[2J'"));
  CHECK_THAT(message_of([&] { open_weights(folder / "none.pth"); }), Contains("none.pth"));
}
