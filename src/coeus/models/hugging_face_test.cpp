#include "coeus/models/hugging_face.h"

#include <gmock/gmock.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <functional>
#include <numeric>

#include "coeus/base/temporary_folder.h"
#include "coeus/checkpoint/initial_weights.h"
#include "coeus/checkpoint/sharded_run.h"
#include "coeus/models/deepseek_v3/hugging_face.h"
#include "coeus/models/deepseek_v3/model.h"
#include "coeus/models/llama3/hugging_face.h"
#include "coeus/models/llama4/hugging_face.h"
#include "coeus/models/qwen3/flavors.h"
#include "coeus/models/qwen3/hugging_face.h"
#include "coeus/models/registry.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::HasSubstr;

template <class Transformer, class Sizes>
std::shared_ptr<Model> built(Sizes sizes) {
  sizes.max_seq_len = 16;
  return std::make_shared<Transformer>(sizes, AttentionEngine::kAuto, at::TensorOptions());
}

struct Family {
  std::string name;
  std::shared_ptr<Model> model;
  HuggingFaceFormat format;
};

Family llama3_family() {
  const llama3::Sizes sizes = {
      .dim = 32, .n_layers = 2, .n_heads = 4, .n_kv_heads = 2, .vocab_size = 24, .multiple_of = 8};
  return {"llama3", built<llama3::Transformer>(sizes), llama3::hugging_face_format(sizes)};
}

Family llama4_family() {
  llama4::Sizes sizes = {
      .dim = 32, .n_layers = 2, .n_heads = 4, .n_kv_heads = 2, .vocab_size = 24, .multiple_of = 8};
  sizes.moe.num_experts = 3;
  return {"llama4", built<llama4::Transformer>(sizes), llama4::hugging_face_format(sizes)};
}

Family qwen3_family(bool tied, bool experts) {
  qwen3::Sizes sizes = {.dim = 32,
                        .n_layers = 2,
                        .n_heads = 4,
                        .n_kv_heads = 2,
                        .head_dim = 16,
                        .vocab_size = 24,
                        .hidden_dim = 40};
  sizes.enable_weight_tying = tied;
  sizes.moe_hidden_dim = 24;
  if (experts) {
    sizes.moe = qwen3::flavors().at("debugmodel_moe_small").moe;
    sizes.moe->num_experts = 12;
  }
  return {fmt::format("qwen3 tied {} experts {}", tied, experts), built<qwen3::Transformer>(sizes),
          qwen3::hugging_face_format(sizes)};
}

Family deepseek_v3_family(int64_t q_lora_rank, int64_t n_prediction_layers) {
  deepseek_v3::Sizes sizes = {.dim = 32,
                              .n_layers = 3,
                              .n_heads = 2,
                              .vocab_size = 24,
                              .hidden_dim = 40,
                              .moe_hidden_dim = 16,
                              .q_lora_rank = q_lora_rank,
                              .kv_lora_rank = 16,
                              .qk_nope_head_dim = 8,
                              .qk_rope_head_dim = 8,
                              .v_head_dim = 8,
                              .n_prediction_layers = n_prediction_layers};
  return {fmt::format("deepseek_v3 q {} mtp {}", q_lora_rank, n_prediction_layers),
          built<deepseek_v3::Transformer>(sizes), deepseek_v3::hugging_face_format(sizes)};
}

std::vector<Family> families() {
  return {llama3_family(),           llama4_family(),           qwen3_family(false, false),
          qwen3_family(true, false), qwen3_family(false, true), deepseek_v3_family(0, 0),
          deepseek_v3_family(12, 2)};
}

/// The model's tensors, each number another; but an expert bias that has no place there is zero.
NamedTensors random_tensors(const Family& family) {
  torch::manual_seed(7);
  NamedTensors tensors;
  for (const auto& [name, tensor] : checkpoint_tensors_of(*family.model)) {
    const bool is_lost = name.ends_with("expert_bias") && !family.name.starts_with("deepseek");
    tensors.emplace_back(name, is_lost ? at::zeros_like(tensor) : at::randn_like(tensor));
  }
  return tensors;
}

std::filesystem::path written(const TemporaryFolder& folder, const Family& family,
                              const NamedTensors& tensors, const HuggingFaceExport& options = {}) {
  std::filesystem::create_directory(folder / "hf");
  write_hugging_face_folder(posix_file_system(), folder / "hf", family.format,
                            native_weights_of(tensors), options);
  return folder / "hf";
}

NamedTensors read_back(const std::filesystem::path& path, const Family& family) {
  NamedTensors tensors;
  for (const auto& [name, tensor] : checkpoint_tensors_of(*family.model))
    tensors.emplace_back(name, at::full_like(tensor, -1));
  HuggingFaceWeights(posix_file_system(), path, family.format, shapes_of(tensors), {})
      .fill(tensors);
  return tensors;
}

std::string refusal(const std::filesystem::path& path, const Family& family) {
  try {
    read_back(path, family);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}

std::map<std::string, at::Tensor> foreign_tensors(const std::filesystem::path& folder) {
  StoredTensors stored(posix_file_system(),
                       find_initial_weights(posix_file_system(), folder).model);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, source] : stored.all()) tensors.emplace(name, stored.read(name));
  return tensors;
}

TEST(HuggingFace, EveryFamilyComesBackToTheBit) {
  for (const Family& family : families()) {
    SCOPED_TRACE(family.name);
    const TemporaryFolder folder;
    const NamedTensors tensors = random_tensors(family);
    const NamedTensors back = read_back(written(folder, family, tensors), family);
    ASSERT_EQ(back.size(), tensors.size());
    for (size_t i = 0; i < back.size(); ++i)
      EXPECT_TRUE(at::equal(back[i].second, tensors[i].second)) << back[i].first;
  }
}

TEST(HuggingFace, AnySliceIsReadAsItIsInTheWhole) {
  RandomLayouts random(3);
  for (const Family& family : families()) {
    SCOPED_TRACE(family.name);
    const TemporaryFolder folder;
    const NamedTensors tensors = random_tensors(family);
    HuggingFaceWeights weights(posix_file_system(), written(folder, family, tensors), family.format,
                               shapes_of(tensors), {});
    for (int i = 0; i < 5; ++i) {
      for (const HeldSlices& held : random.layout_of(tensors, 3)) {
        const NamedTensors expected = part_of(tensors, held);
        NamedTensors part;
        for (const auto& [name, tensor] : expected)
          part.emplace_back(name, at::full_like(tensor, -1));
        weights.fill(part, held);
        for (size_t k = 0; k < part.size(); ++k)
          EXPECT_TRUE(at::equal(part[k].second, expected[k].second)) << part[k].first;
      }
    }
  }
}

TEST(HuggingFace, EveryFlavourOfTheRegistryHasARuleForEachOfItsTensors) {
  for (const std::string& name : model_names()) {
    if (name == "vlm") continue;  // Only its encoder has such names.
    for (const std::string& flavor : flavor_names(name)) {
      SCOPED_TRACE(name + " " + flavor);
      const auto model =
          build_model({.name = name, .flavor = flavor, .seq_len = 16, .tensors = at::kMeta});
      const HuggingFaceFormat format = hugging_face_format(name, flavor);
      const ForeignModel foreign =
          foreign_model(format.names, shapes_of(checkpoint_tensors_of(*model)));
      int64_t numbers = 0;
      for (const NamedShape& tensor : foreign.foreign)
        numbers += std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1},
                                   std::multiplies<>());
      int64_t expected = 0;
      for (const auto& [tensor_name, tensor] : checkpoint_tensors_of(*model))
        if (name == "deepseek_v3" || !tensor_name.ends_with("expert_bias"))
          expected += tensor.numel();
      EXPECT_EQ(numbers, expected);
    }
  }
}

// transformers' conversion script: rows (head, pair, 2) become (head, 2, pair).
TEST(HuggingFace, LlamasRotaryPairsBecomeHalves) {
  const Family family = llama3_family();
  const TemporaryFolder folder;
  const NamedTensors tensors = random_tensors(family);
  const auto foreign = foreign_tensors(written(folder, family, tensors));
  std::map<std::string, at::Tensor> native(tensors.begin(), tensors.end());
  const at::Tensor& wk = native.at("layers.1.attention.wk.weight");
  const at::Tensor& k_proj = foreign.at("model.layers.1.self_attn.k_proj.weight");
  for (int64_t head = 0; head < 2; ++head)
    for (int64_t pair = 0; pair < 4; ++pair)
      for (int64_t side = 0; side < 2; ++side)
        EXPECT_TRUE(at::equal(k_proj[head * 8 + side * 4 + pair], wk[head * 8 + 2 * pair + side]));
  EXPECT_TRUE(at::equal(foreign.at("model.layers.1.self_attn.v_proj.weight"),
                        native.at("layers.1.attention.wv.weight")));
}

TEST(HuggingFace, Llama4sExpertsAreTransposedAndGateAndUpJoined) {
  const Family family = llama4_family();
  const TemporaryFolder folder;
  const NamedTensors tensors = random_tensors(family);
  const auto foreign = foreign_tensors(written(folder, family, tensors));
  std::map<std::string, at::Tensor> native(tensors.begin(), tensors.end());
  const at::Tensor w1 = native.at("layers.1.moe.experts.w1").transpose(1, 2);
  const at::Tensor w3 = native.at("layers.1.moe.experts.w3").transpose(1, 2);
  EXPECT_TRUE(at::equal(foreign.at("model.layers.1.feed_forward.experts.gate_up_proj"),
                        at::cat({w1, w3}, -1)));
  EXPECT_TRUE(at::equal(foreign.at("model.layers.1.feed_forward.experts.down_proj"),
                        native.at("layers.1.moe.experts.w2").transpose(1, 2)));
}

TEST(HuggingFace, EachExpertIsATensorOfItsOwnNumber) {
  const Family family = qwen3_family(false, true);
  const TemporaryFolder folder;
  const NamedTensors tensors = random_tensors(family);
  const auto foreign = foreign_tensors(written(folder, family, tensors));
  std::map<std::string, at::Tensor> native(tensors.begin(), tensors.end());
  EXPECT_TRUE(at::equal(foreign.at("model.layers.1.mlp.experts.10.up_proj.weight"),
                        native.at("layers.1.moe.experts.w3")[10]));
}

TEST(HuggingFace, WeightsAreSplitOverFilesByTheirIndex) {
  const Family family = llama3_family();
  const TemporaryFolder folder;
  const NamedTensors tensors = random_tensors(family);
  const auto path = written(folder, family, tensors, {.max_file_bytes = 20000});
  EXPECT_TRUE(std::filesystem::exists(path / "model-00002-of-00007.safetensors"));
  const auto index = nlohmann::json::parse(file_text(path / "model.safetensors.index.json"));
  EXPECT_EQ(index["weight_map"]["lm_head.weight"], "model-00007-of-00007.safetensors");
  EXPECT_EQ(index["metadata"]["total_size"], 4 * parameter_count(*family.model));
  EXPECT_TRUE(at::equal(read_back(path, family).back().second, tensors.back().second));
}

TEST(HuggingFace, ExportedWeightsAreConvertedButExpertBiasesAreNot) {
  const Family family = deepseek_v3_family(0, 0);
  const TemporaryFolder folder;
  const NamedTensors tensors = random_tensors(family);
  const auto path = written(folder, family, tensors, {.type = StoredType::kBF16});
  const auto foreign = foreign_tensors(path);
  EXPECT_EQ(foreign.at("model.layers.1.mlp.experts.3.up_proj.weight").scalar_type(), at::kBFloat16);
  EXPECT_EQ(foreign.at("model.layers.1.mlp.gate.e_score_correction_bias").scalar_type(),
            at::kFloat);
  const auto config = nlohmann::json::parse(file_text(path / "config.json"));
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  const NamedTensors back = read_back(path, family);
  for (size_t i = 0; i < back.size(); ++i) {
    const at::Tensor& tensor = tensors[i].second;
    const bool is_bias = back[i].first.ends_with("expert_bias");
    EXPECT_TRUE(
        at::equal(back[i].second, is_bias ? tensor : tensor.to(at::kBFloat16).to(at::kFloat)))
        << back[i].first;
  }
}

TEST(HuggingFace, AModelThatAlsoSeesImagesIsReadForItsText) {
  const Family family = llama4_family();
  const TemporaryFolder folder;
  const NamedTensors tensors = random_tensors(family);
  NamedTensors whole = {{"vision_model.patch_embedding.weight", at::ones({2})}};
  for (const auto& [name, tensor] : foreign_tensors(written(folder, family, tensors)))
    whole.emplace_back("language_model." + name, tensor);
  const NativeWeights weights = native_weights_of(whole);
  std::vector<SafetensorsEntry> entries;
  for (const NamedShape& tensor : weights.shapes)
    entries.push_back({tensor.name, StoredType::kF32, tensor.shape, 0, 0});
  std::filesystem::create_directory(folder / "images");
  write_safetensors_folder(posix_file_system(), folder / "images", entries, weights.read, 1 << 30);
  const NamedTensors back = read_back(folder / "images", family);
  for (size_t i = 0; i < back.size(); ++i)
    EXPECT_TRUE(at::equal(back[i].second, tensors[i].second)) << back[i].first;
}

/// The folder anew, with some of its tensors changed.
template <class Change>
std::filesystem::path rewritten(const TemporaryFolder& folder, const std::filesystem::path& from,
                                Change change) {
  std::map<std::string, at::Tensor> tensors = foreign_tensors(from);
  change(tensors);
  const NativeWeights weights = native_weights_of({tensors.begin(), tensors.end()});
  std::vector<SafetensorsEntry> entries;
  for (const NamedShape& tensor : weights.shapes)
    entries.push_back({tensor.name, weights.types.at(tensor.name), tensor.shape, 0, 0});
  std::filesystem::create_directory(folder / "new");
  write_safetensors_folder(posix_file_system(), folder / "new", entries, weights.read, 1 << 30);
  std::filesystem::copy_file(from / "config.json", folder / "new" / "config.json");
  return folder / "new";
}

TEST(HuggingFace, ATiedOutputMayStandThereButMustBeTheEmbedding) {
  const Family family = qwen3_family(true, false);
  const TemporaryFolder folder;
  const NamedTensors tensors = random_tensors(family);
  const auto path = written(folder, family, tensors);
  EXPECT_FALSE(foreign_tensors(path).contains("lm_head.weight"));
  const TemporaryFolder same;
  const auto repeated = rewritten(same, path, [](auto& all) {
    all["lm_head.weight"] = all["model.embed_tokens.weight"].clone();
  });
  EXPECT_TRUE(at::equal(read_back(repeated, family)[0].second, tensors[0].second));
  const TemporaryFolder other;
  const auto differing = rewritten(
      other, path, [](auto& all) { all["lm_head.weight"] = all["model.embed_tokens.weight"] + 1; });
  EXPECT_THAT(refusal(differing, family), HasSubstr("'lm_head.weight' differs"));
}

TEST(HuggingFace, AnUntiedModelTakesATiedOutputFromTheEmbedding) {
  const Family family = llama3_family();
  const TemporaryFolder folder;
  const auto path = written(folder, family, random_tensors(family));
  const TemporaryFolder tied;
  const auto without = rewritten(tied, path, [](auto& all) { all.erase("lm_head.weight"); });
  EXPECT_THAT(refusal(without, family), HasSubstr("missing: 'lm_head.weight'"));
  auto config = nlohmann::json::parse(file_text(without / "config.json"));
  config["tie_word_embeddings"] = true;
  tied.write("new/config.json", config.dump());
  const NamedTensors back = read_back(without, family);
  EXPECT_TRUE(at::equal(back.front().second, back.back().second));
}

TEST(HuggingFace, EveryMisfitIsNamed) {
  const Family family = llama3_family();
  const TemporaryFolder folder;
  const auto path = written(folder, family, random_tensors(family));
  const TemporaryFolder changed;
  const auto bad = rewritten(changed, path, [](auto& all) {
    all.erase("model.norm.weight");
    all["model.layers.0.mlp.up_proj.weight"] = at::zeros({3, 3});
    all["model.layers.2.mlp.up_proj.weight"] = at::zeros({3, 3});
    all["model.layers.0.self_attn.v_proj.weight"] = at::zeros({16, 32}, at::kInt);
  });
  EXPECT_THAT(refusal(bad, family),
              AllOf(HasSubstr("missing: 'model.norm.weight'"),
                    HasSubstr("wrong shape: 'model.layers.0.mlp.up_proj.weight'"),
                    HasSubstr("unknown: 'model.layers.2.mlp.up_proj.weight'"),
                    HasSubstr("wrong dtype: 'model.layers.0.self_attn.v_proj.weight' is I32")));
}

TEST(HuggingFace, OtherHeadsAreRefusedThoughShapesFit) {
  const Family family = llama3_family();
  const TemporaryFolder folder;
  const auto path = written(folder, family, random_tensors(family));
  auto config = nlohmann::json::parse(file_text(path / "config.json"));
  config["num_attention_heads"] = 2;
  folder.write("hf/config.json", config.dump());
  EXPECT_THAT(refusal(path, family), HasSubstr("num_attention_heads is 2"));
}

TEST(HuggingFace, EightBitWeightsAreMultipliedByTheirBlocksScales) {
  const Family family = deepseek_v3_family(0, 0);
  const TemporaryFolder folder;
  const NamedTensors tensors = random_tensors(family);
  const auto path = written(folder, family, tensors);
  const TemporaryFolder changed;
  const std::string name = "model.layers.1.mlp.experts.3.down_proj.weight";  // [32, 16]
  at::Tensor expected;
  const auto quantized = rewritten(changed, path, [&](auto& all) {
    const at::Tensor eight = all[name].to(at::kFloat8_e4m3fn);
    const at::Tensor scales = at::rand({3, 2}) + 0.5;
    all[name] = eight;
    all[name + "_scale_inv"] = scales;
    expected = eight.to(at::kFloat);
    for (int64_t i = 0; i < 32; ++i)
      for (int64_t j = 0; j < 16; ++j) expected[i][j] *= scales[i / 12][j / 12];
  });
  auto config = nlohmann::json::parse(file_text(quantized / "config.json"));
  config["quantization_config"] = {{"weight_block_size", {12, 12}}};
  changed.write("new/config.json", config.dump());
  const NamedTensors back = read_back(quantized, family);
  std::map<std::string, at::Tensor> native(back.begin(), back.end());
  EXPECT_TRUE(at::equal(native.at("layers.1.moe.experts.w2")[3], expected));
  const TensorSlice slice =
      TensorSlice::whole_of({8, 32, 16}).narrowed(0, 3, 1).narrowed(1, 5, 20).narrowed(2, 7, 9);
  HuggingFaceWeights weights(posix_file_system(), quantized, family.format, shapes_of(back), {});
  EXPECT_TRUE(at::equal(weights.read("layers.1.moe.experts.w2", slice)[0],
                        expected.narrow(0, 5, 20).narrow(1, 7, 9)));
  EXPECT_THROW(HuggingFaceWeights(posix_file_system(), quantized, family.format, shapes_of(back),
                                  {.quantized = false}),
               CheckpointError);
}

TEST(HuggingFace, PredictionLayersAreLeftUnreadByAModelWithoutThem) {
  const Family with = deepseek_v3_family(0, 1);
  const Family without = deepseek_v3_family(0, 0);
  const TemporaryFolder folder;
  const NamedTensors tensors = random_tensors(with);
  const auto path = written(folder, with, tensors);
  const auto foreign = foreign_tensors(path);
  EXPECT_TRUE(at::equal(foreign.at("model.layers.3.embed_tokens.weight"),
                        foreign.at("model.embed_tokens.weight")));
  EXPECT_TRUE(foreign.contains("model.layers.3.mlp.experts.1.up_proj.weight"));
  EXPECT_TRUE(at::equal(read_back(path, without).front().second, tensors.front().second));
}

}  // namespace
}  // namespace coeus
