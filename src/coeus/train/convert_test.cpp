#include "coeus/train/convert.h"

#include <gmock/gmock.h>
#include <torch/types.h>

#include <fstream>

#include "coeus/base/temporary_folder.h"
#include "coeus/checkpoint/initial_weights.h"
#include "coeus/checkpoint/safetensors_folder.h"
#include "coeus/checkpoint/stored_tensors.h"
#include "coeus/models/registry.h"

namespace coeus {
namespace {

using testing::HasSubstr;

/// A safetensors file of a debug model's weights, drawn by `seed`, biases zero.
std::filesystem::path native_weights(const TemporaryFolder& folder, const std::string& name,
                                     const std::string& flavor) {
  const auto model = build_model({.name = name, .flavor = flavor, .seq_len = 8});
  model->init_weights(3);
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [tensor_name, tensor] : checkpoint_tensors_of(*model)) {
    entries.push_back({tensor_name, StoredType::kF32, tensor.sizes().vec(), 0, 0});
    tensors.emplace(tensor_name, tensor.detach());
  }
  std::filesystem::create_directory(folder / "native");
  write_safetensors_folder(
      posix_file_system(), folder / "native", entries,
      [&](const std::string& wanted, std::optional<int64_t> index) {
        return index ? tensors.at(wanted)[*index] : tensors.at(wanted);
      },
      uint64_t{1} << 40);
  return folder / "native";
}

std::map<std::string, at::Tensor> tensors_in(const std::filesystem::path& folder) {
  StoredTensors stored(posix_file_system(),
                       find_initial_weights(posix_file_system(), folder).model);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, source] : stored.all()) tensors.emplace(name, stored.read(name));
  return tensors;
}

std::string refusal(const ConvertOptions& options) {
  try {
    convert_weights(options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Convert, ThereAndBackGivesTheSameFiles) {
  const std::vector<std::pair<std::string, std::string>> models = {
      {"llama3", "debugmodel"}, {"llama4", "debugmodel"}, {"qwen3", "debugmodel_moe_small"}};
  for (const auto& [name, flavor] : models) {
    SCOPED_TRACE(name);
    const TemporaryFolder folder;
    const auto native = native_weights(folder, name, flavor);
    ConvertOptions options = {.in = native, .out = folder / "hf/", .model = name, .flavor = flavor};
    options.to_hugging_face = true;
    options.max_file_bytes = 4'000'000;
    const Converted there = convert_weights(options);
    EXPECT_TRUE(std::filesystem::exists(folder / "hf" / "config.json"));
    options = {.in = folder / "hf", .out = folder / "back", .model = name, .flavor = flavor};
    const Converted back = convert_weights(options);
    EXPECT_EQ(there.tensors, back.tensors);
    EXPECT_EQ(file_text(folder / "back" / "model.safetensors"),
              file_text(native / "model.safetensors"));
  }
}

TEST(Convert, ConfigJsonCanStandForTheFlavour) {
  const TemporaryFolder folder;
  const auto native = native_weights(folder, "qwen3", "debugmodel_moe_small");
  ConvertOptions options = {
      .in = native, .out = folder / "hf", .model = "qwen3", .flavor = "debugmodel_moe_small"};
  options.to_hugging_face = true;
  convert_weights(options);
  options = {
      .in = folder / "hf", .out = folder / "back", .model = "qwen3", .flavor = kFromHuggingFace};
  convert_weights(options);
  EXPECT_EQ(file_text(folder / "back" / "model.safetensors"),
            file_text(native / "model.safetensors"));
  options.out = folder / "other";
  options.config_folder = folder / "native";
  EXPECT_THAT(refusal(options), HasSubstr("there is no config.json in"));
}

TEST(Convert, ExportDtypeIsThatOfTheNumbersWritten) {
  const TemporaryFolder folder;
  const auto native = native_weights(folder, "qwen3", "debugmodel_tied");
  ConvertOptions options = {
      .in = native, .out = folder / "hf", .model = "qwen3", .flavor = "debugmodel_tied"};
  options.to_hugging_face = true;
  options.export_type = StoredType::kBF16;
  const Converted converted = convert_weights(options);
  uint64_t bytes = 0;
  const auto written = tensors_in(folder / "hf");
  for (const auto& [name, tensor] : written) {
    EXPECT_EQ(tensor.scalar_type(), at::kBFloat16) << name;
    bytes += tensor.nbytes();
  }
  EXPECT_EQ(converted.bytes, bytes);
  EXPECT_FALSE(written.contains("lm_head.weight"));
}

TEST(Convert, RefusesWhatItCannotDoAndLeavesNothingBehind) {
  const TemporaryFolder folder;
  const auto native = native_weights(folder, "llama3", "debugmodel");
  const ConvertOptions right = {.in = native,
                                .out = folder / "out",
                                .to_hugging_face = true,
                                .model = "llama3",
                                .flavor = "debugmodel"};
  ConvertOptions options = right;
  options.out = native;
  EXPECT_THAT(refusal(options), HasSubstr("exists; name a folder that does not"));
  options = right;
  options.to_hugging_face = false;
  EXPECT_THAT(refusal(options), HasSubstr("has native names already; --to native reads"));
  options = right;
  options.flavor = "8B";
  EXPECT_THAT(refusal(options), HasSubstr("wrong shape: 'tok_embeddings.weight'"));
  options = right;
  options.flavor = "9B";
  EXPECT_THAT(refusal(options), HasSubstr("no such flavour"));
  options = right;
  options.in = folder / "absent";
  EXPECT_THAT(refusal(options), HasSubstr("absent"));
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
}

TEST(Convert, AFailureWhileWritingLeavesNothingBehind) {
  const TemporaryFolder folder;
  const auto native = native_weights(folder, "llama3", "debugmodel");
  // The parent of `out` is a file.
  folder.write("file", "");
  EXPECT_NE(refusal({.in = native,
                     .out = folder / "file" / "out",
                     .to_hugging_face = true,
                     .model = "llama3",
                     .flavor = "debugmodel"}),
            "");
  EXPECT_EQ(file_text(folder / "file"), "");
}

}  // namespace
}  // namespace coeus
