#include "coeus/checkpoint/tensor_match.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coeus/base/memory_file_system.h"
#include "coeus/checkpoint/checkpoint_reader.h"
#include "coeus/checkpoint/checkpoint_writer.h"
#include "coeus/checkpoint/small_run.h"
#include "coeus/checkpoint/tensor_bytes.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

at::Tensor random_bits(StoredType type, std::vector<int64_t> shape) {
  const auto element = static_cast<int64_t>(bytes_of(type));
  at::Tensor bytes = torch::randint(0, type == StoredType::kBool ? 2 : 256,
                                    {c10::multiply_integers(shape) * element}, at::kByte);
  return bytes.view(scalar_type_of(type)).view(shape);
}

std::string bits_of(const at::Tensor& tensor) {
  at::Tensor flat = tensor.contiguous();
  return {static_cast<const char*>(flat.data_ptr()), flat.nbytes()};
}

NamedTensors model_with(const std::string& name, at::Tensor tensor) { return {{name, tensor}}; }

VerifiedCheckpoint write_and_verify(MemoryFileSystem& files, const NamedTensors& model,
                                    CheckpointContents contents = {}) {
  files.make_folders("/c");
  TrainingState state;
  state.model = model;
  contents.model_only = true;
  CheckpointWriter writer(state, contents);
  writer.write(files, "/c");
  uint64_t bytes = 0;
  for (const auto& name : files.list("/c")) bytes += files.open("/c/" + name)->size();
  EXPECT_EQ(bytes, writer.bytes());
  return verify_checkpoint(files, "/c");
}

TEST(TensorMatch, EveryTypeComesBackBitForBit) {
  torch::manual_seed(1);
  NamedTensors model;
  for (StoredType type : all_stored_types()) {
    model.emplace_back(std::string(name_of(type)), random_bits(type, {3, 5}));
  }
  model.emplace_back("scalar", torch::tensor(1.5));
  model.emplace_back("empty", torch::empty({2, 0}));
  MemoryFileSystem files;
  auto checkpoint = write_and_verify(files, model);
  NamedTensors into;
  for (const auto& [name, tensor] : model) into.emplace_back(name, at::empty_like(tensor));
  EXPECT_THAT(mismatches(checkpoint.manifest.tensors.at("model"), into, {}), ElementsAre());
  fill_tensors(files, checkpoint.manifest.tensors.at("model"), into);
  for (size_t i = 0; i < model.size(); ++i) {
    EXPECT_EQ(bits_of(into[i].second), bits_of(model[i].second)) << model[i].first;
  }
}

TEST(TensorMatch, StridesDoNotMatter) {
  MemoryFileSystem files;
  at::Tensor whole = torch::arange(24, at::kFloat).view({4, 6});
  auto checkpoint = write_and_verify(files, model_with("w", whole.t().narrow(0, 1, 4)));
  at::Tensor target = torch::zeros({4, 6});
  fill_tensors(files, checkpoint.manifest.tensors.at("model"),
               model_with("w", target.t().narrow(0, 1, 4)));
  EXPECT_TRUE(at::equal(target.narrow(1, 1, 4), whole.narrow(1, 1, 4)));
  EXPECT_EQ(target.narrow(1, 0, 1).abs().sum().item<float>(), 0);
}

TEST(TensorMatch, FillsParametersInPlaceAndOutsideOfAutograd) {
  MemoryFileSystem files;
  auto checkpoint = write_and_verify(files, model_with("w", torch::arange(6, at::kFloat)));
  at::Tensor parameter = torch::zeros({6}, torch::requires_grad());
  const void* storage = parameter.data_ptr();
  fill_tensors(files, checkpoint.manifest.tensors.at("model"), model_with("w", parameter));
  EXPECT_EQ(parameter.data_ptr(), storage);
  EXPECT_TRUE(parameter.is_leaf());
  EXPECT_EQ(parameter.detach()[5].item<float>(), 5);
}

TEST(TensorMatch, TensorsOfManyPiecesComeBack) {
  torch::manual_seed(2);
  MemoryFileSystem files;
  at::Tensor large = torch::randn({(1 << 20) + 3});
  auto checkpoint = write_and_verify(files, model_with("w", large));
  at::Tensor into = torch::zeros_like(large);
  fill_tensors(files, checkpoint.manifest.tensors.at("model"), model_with("w", into));
  EXPECT_TRUE(at::equal(into, large));
  at::Tensor half = torch::zeros(large.sizes(), at::kBFloat16);
  fill_tensors(files, checkpoint.manifest.tensors.at("model"), model_with("w", half));
  EXPECT_TRUE(at::equal(half, large.to(at::kBFloat16)));
}

TEST(CheckpointWriter, ConvertsPlainFloatsAndNothingElseOnExport) {
  MemoryFileSystem files;
  at::Tensor weight = torch::arange(4, at::kFloat) + 0.3;
  auto checkpoint = write_and_verify(files, {{"w", weight}, {"n", torch::arange(3, at::kLong)}},
                                     {.export_type = StoredType::kBF16});
  NamedTensors into{{"w", torch::zeros({4}, at::kBFloat16)}, {"n", torch::zeros({3}, at::kLong)}};
  EXPECT_THAT(mismatches(checkpoint.manifest.tensors.at("model"), into, {}), ElementsAre());
  fill_tensors(files, checkpoint.manifest.tensors.at("model"), into);
  EXPECT_TRUE(at::equal(into[0].second, weight.to(at::kBFloat16)));
}

TEST(CheckpointWriter, SplitsALargePartOverFiles) {
  MemoryFileSystem files;
  NamedTensors model;
  for (int i = 0; i < 5; ++i)
    model.emplace_back(fmt::format("w{}", i), torch::full({10}, i, at::kFloat));
  model.emplace_back("large", torch::ones({100}));
  auto checkpoint = write_and_verify(files, model, {.max_file_bytes = 100});
  EXPECT_THAT(files.list("/c"),
              ElementsAre("manifest.json", "model-00001-of-00004.safetensors",
                          "model-00002-of-00004.safetensors", "model-00003-of-00004.safetensors",
                          "model-00004-of-00004.safetensors"));
  NamedTensors into;
  for (const auto& [name, tensor] : model) into.emplace_back(name, torch::zeros_like(tensor));
  fill_tensors(files, checkpoint.manifest.tensors.at("model"), into);
  EXPECT_TRUE(same_tensors(into, model));
}

TEST(CheckpointWriter, RefusesWhatCannotBeSaved) {
  auto refused = [](NamedTensors model) {
    TrainingState state;
    state.model = std::move(model);
    EXPECT_THROW(CheckpointWriter(state, {}), Error);
  };
  at::Tensor one = torch::ones({1});
  refused({{"w", one}, {"w", one}});
  refused({{"w", torch::ones({1}, at::kComplexFloat)}});
  refused({{"w", torch::ones({2, 2}).to_sparse()}});
  refused({{"w", torch::ones({1}, at::kMeta)}});
  refused({{"w", at::Tensor()}});
}

TEST(TensorMatch, NamesEveryMismatchAtOnce) {
  MemoryFileSystem files;
  auto checkpoint = write_and_verify(files, {{"same", torch::ones({2})},
                                             {"shape", torch::ones({2, 3})},
                                             {"type", torch::ones({2})},
                                             {"extra", torch::ones({7})}});
  NamedTensors into{{"same", torch::ones({2})},
                    {"shape", torch::ones({3, 2})},
                    {"type", torch::ones({2}, at::kBFloat16)},
                    {"absent", torch::ones({5})},
                    {"moe.expert_bias", torch::ones({4})}};
  const auto& stored = checkpoint.manifest.tensors.at("model");
  EXPECT_THAT(
      mismatches(stored, into, {}),
      ElementsAre("wrong shape: 'shape' is [2, 3] in /c/model.safetensors, the run needs [3, 2]",
                  "wrong dtype: 'type' is F32 in /c/model.safetensors, the run needs BF16",
                  "missing: 'absent' of shape [5]", "missing: 'moe.expert_bias' of shape [4]",
                  "unknown: 'extra' of shape [7] in /c/model.safetensors"));
  EXPECT_THAT(mismatches(stored, into, {.convert_floats = true, .expert_bias_may_be_absent = true}),
              ElementsAre(HasSubstr("wrong shape: 'shape'"), HasSubstr("missing: 'absent'"),
                          HasSubstr("unknown: 'extra'")));
}

TEST(TensorMatch, AnIntegerIsNeverTakenForAFloat) {
  MemoryFileSystem files;
  auto checkpoint = write_and_verify(files, model_with("w", torch::ones({2}, at::kInt)));
  EXPECT_THAT(mismatches(checkpoint.manifest.tensors.at("model"), model_with("w", torch::ones({2})),
                         {.convert_floats = true}),
              ElementsAre(HasSubstr("wrong dtype")));
}

}  // namespace
}  // namespace coeus
