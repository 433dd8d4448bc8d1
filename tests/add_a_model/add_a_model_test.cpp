// The worked example of docs/add-a-model.md: a model in a folder of its own, registered from
// outside.
#include <gmock/gmock.h>
#include <torch/types.h>

#include <filesystem>
#include <fstream>

#include "add_a_model/family.h"
#include "add_a_model/flavors.h"
#include "coeus/base/error.h"
#include "coeus/models/registry.h"
#include "coeus/train/decoding_session.h"
#include "coeus/train/metrics/loss_curve.h"
#include "coeus/train/score.h"
#include "run_folder_fixture.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class AddedModel : public RunTest {
 protected:
  static void SetUpTestSuite() { palm::register_family(); }

  /// 2 rows of 64 tokens of text a step.
  LossCurve losses(const std::string& name, std::vector<std::string> flags) {
    std::ofstream out(folder_ / "text.jsonl");
    for (int i = 0; i < 100; ++i)
      out << "{\"text\": \"The sun rises in the east, and day " << i
          << " is as long as the day before it.\"}\n";
    out.close();
    flags.insert(flags.begin(),
                 {"--model.name=palm", "--model.flavor=debugmodel_local", "--training.seq_len=64",
                  "--training.local_batch_size=2", "--optimizer.lr=2e-3", "--training.dataset=json",
                  "--training.dataset_path=" + (folder_ / "text.jsonl").string(),
                  "--model.hf_assets_path=" COEUS_SOURCE_DIR "/tests/tokenizer/llama3"});
    return read_loss_curve(train(name, flags) / "metrics.jsonl");
  }

  static std::shared_ptr<Model> model(const std::string& flavor, at::Device device = at::kCPU) {
    return build_model({.name = "palm",
                        .flavor = flavor,
                        .seq_len = 64,
                        .tensors = at::TensorOptions().device(device)});
  }
};

TEST_F(AddedModel, HasThePublishedSize) {
  EXPECT_EQ(parameter_count(*model("8B", at::kMeta)), 8'632'012'800);
}

TEST_F(AddedModel, TheLossFalls) {
  const LossCurve curve = losses("a", {"--training.steps=25"});
  EXPECT_LT(curve.at(25).loss, curve.at(1).loss - 2);
}

TEST_F(AddedModel, ActivationCheckpointingChangesNoBit) {
  const LossCurve none = losses("none", {"--training.steps=3"});
  const LossCurve selective =
      losses("selective", {"--training.steps=3", "--activation_checkpoint.mode=selective",
                           "--activation_checkpoint.selective_ac_option=op"});
  for (const auto& [step, point] : none) EXPECT_EQ(selective.at(step).loss, point.loss);
}

TEST_F(AddedModel, EachLayerTakesItsOwnMask) {
  const std::vector<SequenceLayout> rows = {
      SequenceLayout::from_document_lengths(std::vector<int64_t>{40, 24})};
  const AttentionMasks masks = model("debugmodel_local")->get_attention_masks(rows);
  EXPECT_EQ(masks.at("global").area(), 40 * 41 / 2 + 24 * 25 / 2);
  EXPECT_EQ(masks.at("local").area(), 2 * (16 * 17 / 2) + (24 + 8) * 16);
  EXPECT_EQ(model("debugmodel")->get_attention_masks(rows).size(), 1U);
  const auto narrow = build_model({.name = "palm",
                                   .flavor = "debugmodel_local",
                                   .seq_len = 64,
                                   .masks = {{"local", "causal & sliding_window(1)"}}});
  EXPECT_EQ(narrow->get_attention_masks(rows).at("local").area(), 64);
}

TEST_F(AddedModel, DecodesTokenByTokenAsItComputesWholeRows) {
  const auto palm = model("debugmodel_local");
  palm->init_weights(1);
  ScoreLine line = {.documents = {30}};
  for (int32_t i = 0; i < 30; ++i) line.tokens.push_back(i * 67 % 2048);
  const std::vector<float> scores = score_lines(*palm, {line}, Positions::kSequence)[0];
  DecodingSession session(*palm);
  for (int64_t i = 0; i + 1 < 30; ++i) {
    const at::Tensor logits = session.append(std::span(line.tokens).subspan(i, 1))[0];
    EXPECT_NEAR(at::log_softmax(logits, -1)[line.tokens[i + 1]].item<float>(), scores[i], 2e-5);
  }
}

TEST_F(AddedModel, SavesAndLoadsHuggingFacesForm) {
  const LossCurve curve =
      losses("run", {"--training.steps=12", "--checkpoint.enable",
                     "--checkpoint.last_save_model_only", "--checkpoint.last_save_in_hf"});
  const std::string saved = (folder_ / "run/checkpoint/step-12").string();
  EXPECT_TRUE(std::filesystem::exists(saved + "/config.json"));
  const LossCurve loaded = losses(
      "loaded", {"--training.steps=1", "--checkpoint.enable", "--checkpoint.load_only",
                 "--checkpoint.initial_load_in_hf", "--checkpoint.initial_load_path=" + saved});
  EXPECT_LT(loaded.at(1).loss, curve.at(1).loss - 0.5);
}

TEST_F(AddedModel, ANameCanBeTakenOnce) {
  EXPECT_THROW(palm::register_family(), Error);
  EXPECT_THROW(register_model("llama3", {}), Error);
  EXPECT_THAT(model_names(), testing::Contains("palm"));
  EXPECT_THAT(flavor_names("palm"), ElementsAre("8B", "debugmodel", "debugmodel_local"));
}

/// The code blocks of the page, by the file that each names behind ```cpp.
std::multimap<std::string, std::string> quotes() {
  std::ifstream page(COEUS_SOURCE_DIR "/docs/add-a-model.md");
  std::multimap<std::string, std::string> quotes;
  const std::string fence = "```cpp ";
  std::string file, block;
  for (std::string line; std::getline(page, line);) {
    if (file.empty() && line.starts_with(fence)) {
      file = line.substr(fence.size());
    } else if (!file.empty() && line == "```") {
      quotes.emplace(file, block);
      file.clear();
      block.clear();
    } else if (!file.empty()) {
      block += line + "\n";
    }
  }
  return quotes;
}

TEST(AddAModelPage, QuotesTheFilesThatAreTestedHere) {
  const auto found = quotes();
  EXPECT_GE(found.size(), 6U);
  for (const auto& [file, block] : found)
    EXPECT_THAT(file_text(std::filesystem::path(COEUS_SOURCE_DIR) / file), HasSubstr(block))
        << file;
  for (const char* name :
       {"masks.cpp", "model.h", "model.cpp", "flavors.cpp", "hugging_face.cpp", "family.cpp"})
    EXPECT_TRUE(found.contains(std::string("tests/add_a_model/") + name)) << name;
}

}  // namespace
}  // namespace coeus
