#include "coeus/train/score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "coeus/base/error.h"
#include "coeus/base/random.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/models/registry.h"
#include "coeus/ops/test_device.h"
#include "coeus/train/convert.h"
#include "coeus/train/data_source.h"
#include "coeus/train/metrics/loss_curve.h"
#include "coeus/train/score_batches.h"
#include "coeus/train/trainer.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A line of tokens below 2048, drawn by `seed`.
ScoreLine line_of(const std::vector<int64_t>& documents, uint64_t seed) {
  ScoreLine line = {.number = static_cast<int64_t>(seed), .documents = documents};
  int64_t length = 0;
  for (const int64_t document : documents) length += document;
  const CounterRandom random(seed, "tokens");
  for (int64_t i = 0; i < length; ++i)
    line.tokens.push_back(static_cast<int32_t>(2048 * random.uniform(i)));
  return line;
}

std::vector<size_t> lengths_of(const std::vector<std::vector<size_t>>& groups) {
  std::vector<size_t> sizes;
  for (const auto& group : groups) sizes.push_back(group.size());
  return sizes;
}

TEST(ScoreBatches, HoldLinesOfMuchTheSameLengthLongestFirst) {
  std::vector<ScoreLine> lines;
  for (const int64_t length : {1, 17, 9, 16, 15, 9, 9}) lines.push_back(line_of({length}, 1));
  const auto groups = group_by_length(lines, 1000);
  EXPECT_THAT(groups, ElementsAre(ElementsAre(1, 3, 4), ElementsAre(2, 5, 6)));
  EXPECT_THAT(lengths_of(group_by_length(lines, 32)), ElementsAre(2, 1, 3));
  EXPECT_THAT(lengths_of(group_by_length(lines, 1)), ElementsAre(1, 1, 1, 1, 1, 1));
}

JobConfig config_of(std::vector<std::string> flags) {
  std::vector<std::string> all = {"--training.dataset=synthetic", "--training.seq_len=16"};
  all.insert(all.end(), flags.begin(), flags.end());
  return load_job_config(all);
}

std::shared_ptr<Model> model_of(const std::string& name, const std::string& flavor,
                                std::optional<std::string> mask = {},
                                AttentionEngine engine = AttentionEngine::kAuto) {
  auto model = build_model({.name = name,
                            .flavor = flavor,
                            .seq_len = 128,
                            .mask = std::move(mask),
                            .engine = engine,
                            .tensors = at::TensorOptions().device(test_device())});
  model->init_weights(1);
  return model;
}

void expect_near(const std::vector<float>& got, const std::vector<float>& want, double bound) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], bound) << "entry " << i;
}

TEST(Score, IsTheLogSoftmaxOfTheModelsLogits) {
  const auto model = model_of("llama3", "debugmodel_flex_attn");
  const ScoreLine line = line_of({20, 12}, 1);
  const auto scores = score_lines(*model, {line}, Positions::kSequence);
  const at::NoGradGuard no_grad;
  const std::vector<SequenceLayout> rows = {
      SequenceLayout::from_document_lengths(std::vector<int64_t>{20, 12})};
  const at::TensorOptions on_device = at::TensorOptions().device(test_device());
  const at::Tensor tokens =
      at::tensor(at::ArrayRef<int32_t>(line.tokens)).to(test_device(), at::kLong);
  const at::Tensor logits =
      model->forward(tokens.unsqueeze(0), at::arange(32, on_device.dtype(at::kInt)).unsqueeze(0),
                     model->get_attention_masks(rows))[0];
  const at::Tensor all = at::log_softmax(logits.to(at::kDouble), -1);
  std::vector<float> want;
  for (int64_t i = 0; i + 1 < 32; ++i)
    want.push_back(static_cast<float>(all[i][line.tokens[i + 1]].item<double>()));
  ASSERT_EQ(scores.size(), 1U);
  expect_near(scores[0], want, 1e-5);
}

struct Family {
  const char* model;
  const char* flavor;
};

class ScoreOfFamily : public testing::TestWithParam<Family> {};

TEST_P(ScoreOfFamily, PackedDocumentsHaveTheScoresOfSeparateOnes) {
  const auto model = model_of(GetParam().model, GetParam().flavor);
  const std::vector<int64_t> lengths = {20, 1, 33, 9};
  const ScoreLine packed = line_of(lengths, 1);
  std::vector<ScoreLine> lines = {packed};
  auto begin = packed.tokens.begin();
  for (const int64_t length : lengths) {
    lines.push_back({.tokens = {begin, begin + length}, .documents = {length}});
    begin += length;
  }
  const auto scores = score_lines(*model, lines, Positions::kDocument);
  ASSERT_EQ(scores[0].size(), 62U);
  std::vector<float> within, separate;
  for (size_t i = 0; i < scores[0].size(); ++i)
    if (i != 19 && i != 20 && i != 53) within.push_back(scores[0][i]);
  for (size_t i = 1; i < scores.size(); ++i)
    separate.insert(separate.end(), scores[i].begin(), scores[i].end());
  expect_near(within, separate, 2e-5);
  const ScoreSummary summary = summarize_scores(lines, scores);
  EXPECT_EQ(summary.tokens, 62 + 59);
  EXPECT_EQ(summary.tokens_within_documents, 59 + 59);
  EXPECT_NEAR(
      summary.loss_within_documents,
      summarize_scores({lines.begin() + 1, lines.end()}, {scores.begin() + 1, scores.end()}).loss,
      1e-5);
}

/// One step of training as configured: its loss, and its batch as lines.
TEST_P(ScoreOfFamily, TheLossIsThatOfTrainingOnTheSameTokens) {
  const TemporaryFolder folder;
  const JobConfig config =
      config_of({std::string("--model.name=") + GetParam().model,
                 std::string("--model.flavor=") + GetParam().flavor, "--training.steps=1",
                 "--training.seq_len=48", "--training.local_batch_size=3", "--metrics.log_freq=1",
                 "--training.seed=7", "--training.mixed_precision_param=float32",
                 "--job.dump_folder=" + folder.path().string()});
  train_alone(config);
  const double loss = read_loss_curve(folder / "metrics.jsonl").at(1).loss;

  const auto batch = make_training_loader(config, nullptr, 2048, {})->next();
  ASSERT_TRUE(batch.has_value());
  std::string input;
  for (int64_t row = 0; row < 3; ++row) {
    std::vector<int32_t> tokens(batch->tokens.begin() + row * 48,
                                batch->tokens.begin() + (row + 1) * 48);
    tokens.push_back(batch->labels[row * 48 + 47]);
    std::vector<int64_t> documents;
    for (const int32_t offset : batch->layouts[row].query()->offset)
      if (offset == 0)
        documents.push_back(1);
      else
        ++documents.back();
    ++documents.back();
    input += nlohmann::json{{"tokens", tokens}, {"documents", documents}}.dump() + "\n";
  }
  const ScoreSummary summary = score(config, {.input = folder.write("rows.jsonl", input).string(),
                                              .output = (folder / "scores.jsonl").string()});
  EXPECT_EQ(summary.tokens, 3 * 48);
  EXPECT_NEAR(summary.loss, loss, 2e-6);
}

INSTANTIATE_TEST_SUITE_P(Families, ScoreOfFamily,
                         testing::Values(Family{"llama3", "debugmodel_flex_attn"},
                                         Family{"llama4", "debugmodel_irope"},
                                         Family{"qwen3", "debugmodel_flex_attn"},
                                         Family{"deepseek_v3", "debugmodel_flex_attn"}),
                         [](const auto& info) { return std::string(info.param.model); });

TEST(Score, EveryEngineGivesTheSame) {
  const std::vector<ScoreLine> lines = {line_of({20, 30}, 1), line_of({47}, 2)};
  const auto scores_by = [&](AttentionEngine engine) {
    return score_lines(*model_of("llama3", "debugmodel_flex_attn", {}, engine), lines,
                       Positions::kSequence);
  };
  const auto want = scores_by(AttentionEngine::kReference);
  std::vector<AttentionEngine> engines = {AttentionEngine::kBlockSparse};
  // GPUs have it in bfloat16 and float16.
  if (test_device().is_cpu()) engines.push_back(AttentionEngine::kSdpa);
  for (const AttentionEngine engine : engines)
    for (size_t i = 0; i < lines.size(); ++i) expect_near(scores_by(engine)[i], want[i], 2e-5);
}

/// What is computed together is not seen, whatever the mask: also by one that looks ahead.
TEST(Score, LinesPaddedToOneLengthHaveTheScoresOfThoseAlone) {
  for (const char* mask : {"causal", "full", "sliding_window(3, 2)", "~document | causal"}) {
    SCOPED_TRACE(mask);
    const auto model = model_of("llama3", "debugmodel", mask);
    std::vector<ScoreLine> lines;
    for (uint64_t i = 0; i < 6; ++i)
      lines.push_back(line_of({40 - static_cast<int64_t>(i) / 2}, i));
    const auto together = score_lines(*model, lines, Positions::kSequence);
    for (size_t i = 0; i < lines.size(); ++i)
      expect_near(together[i], score_lines(*model, {lines[i]}, Positions::kSequence)[0], 2e-5);
  }
}

TEST(Score, PaddingIsUsedWhereNoTokenSeesIt) {
  const std::vector<ScoreLine> lines = {line_of({40}, 1), line_of({39}, 2)};
  const auto batches = [&](const char* mask) {
    return make_score_batches(*model_of("llama3", "debugmodel", mask), lines, {0, 1},
                              Positions::kSequence);
  };
  EXPECT_EQ(batches("causal").size(), 1U);
  EXPECT_EQ(batches("document").size(), 1U);
  EXPECT_EQ(batches("full").size(), 2U);
  EXPECT_EQ(batches("sliding_window(3, 2)").size(), 2U);
}

TEST(ScoreBatches, LeaveTheLastTokenOutAndCountPositionsAsTrainingDoes) {
  const auto model = model_of("llama3", "debugmodel_flex_attn");
  const std::vector<ScoreLine> lines = {line_of({2, 3}, 1)};
  const auto batch = [&](Positions positions) {
    return make_score_batches(*model, lines, {0}, positions).at(0);
  };
  EXPECT_THAT(batch(Positions::kSequence).positions, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(batch(Positions::kDocument).positions, ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(batch(Positions::kSequence).tokens,
              testing::ElementsAreArray(lines[0].tokens.begin(), lines[0].tokens.end() - 1));
}

class ScoreFiles : public testing::Test {
 protected:
  std::string score_of(const std::string& input, std::vector<std::string> flags) {
    flags.insert(flags.end(), {"--model.hf_assets_path=" COEUS_SOURCE_DIR "/tests/tokenizer/llama3",
                               "--job.dump_folder=" + (folder_ / "run").string()});
    score(config_of(std::move(flags)), {.input = folder_.write("in.jsonl", input).string(),
                                        .output = (folder_ / "out.jsonl").string()});
    return file_text(folder_ / "out.jsonl");
  }

  /// A debugmodel's weights as a checkpoint and as a Hugging Face folder.
  std::pair<std::string, std::string> both_forms(const std::string& name) {
    const std::string run = (folder_ / name).string();
    train_alone(
        config_of({"--model.name=" + name, "--training.steps=1", "--training.local_batch_size=1",
                   "--checkpoint.enable", "--job.dump_folder=" + run}));
    convert_weights({.in = run + "/checkpoint/step-1",
                     .out = run + "/hf",
                     .to_hugging_face = true,
                     .model = name,
                     .flavor = "debugmodel"});
    return {run + "/checkpoint/step-1", run + "/hf"};
  }

  const TemporaryFolder folder_;
};

TEST_F(ScoreFiles, TokensNeedNoTokenizerAndTextsShowTheirTokens) {
  const std::string scores = score_of("{\"tokens\": [1, 2, 3]}\n{\"tokens\": [4]}\n", {});
  EXPECT_EQ(
      score_of("{\"tokens\": [1, 2, 3]}\n{\"tokens\": [4]}\n", {"--model.hf_assets_path=nowhere"}),
      scores);
  std::istringstream lines(scores);
  std::string first, second, none;
  std::getline(lines, first);
  std::getline(lines, second);
  EXPECT_EQ(nlohmann::json::parse(first).size(), 1U);
  EXPECT_EQ(nlohmann::json::parse(first).at("logprobs").size(), 2U);
  EXPECT_EQ(second, "{\"logprobs\": []}");
  EXPECT_FALSE(std::getline(lines, none));

  const auto of_text = nlohmann::json::parse(score_of("{\"text\": \"the sun\"}\n", {}));
  const auto tokens = of_text.at("tokens");
  EXPECT_EQ(of_text.at("logprobs").size() + 1, tokens.size());
  const auto of_tokens =
      nlohmann::json::parse(score_of(nlohmann::json{{"tokens", tokens}}.dump(), {}));
  EXPECT_EQ(of_tokens.at("logprobs"), of_text.at("logprobs"));
}

TEST_F(ScoreFiles, ARunInTheDumpFolderIsNotResumed) {
  const std::string input = "{\"tokens\": [1, 2, 3, 4, 5, 6]}\n";
  const std::string untrained = score_of(input, {});
  train_alone(
      config_of({"--training.steps=2", "--training.local_batch_size=1", "--checkpoint.enable",
                 "--optimizer.lr=1e-2", "--lr_scheduler.warmup_steps=0",
                 "--job.dump_folder=" + (folder_ / "run").string()}));
  EXPECT_EQ(score_of(input, {"--checkpoint.enable"}), untrained);
  const std::string weights = (folder_ / "run/checkpoint/step-2").string();
  EXPECT_NE(score_of(input, {"--checkpoint.enable", "--checkpoint.initial_load_path=" + weights}),
            untrained);
}

TEST_F(ScoreFiles, HuggingFacesWeightsHaveTheScoresOfTheNativeOnes) {
  const std::string input = "{\"tokens\": [1, 2, 3, 4, 5, 6]}\n";
  for (const std::string name : {"llama3", "llama4", "qwen3", "deepseek_v3"}) {
    SCOPED_TRACE(name);
    const auto [native, there] = both_forms(name);
    const auto scores = [&](const std::string& path, const std::string& flavor) {
      return score_of(input, {"--model.name=" + name, "--model.flavor=" + flavor,
                              "--checkpoint.enable", "--checkpoint.initial_load_path=" + path});
    };
    EXPECT_EQ(scores(there, "debugmodel"), scores(native, "debugmodel"));
    if (name == "llama3" || name == "qwen3") {
      EXPECT_EQ(scores(there, kFromHuggingFace), scores(native, "debugmodel"));
    }
  }
}

TEST_F(ScoreFiles, ALineLongerThanTheModelsPositionsIsNamed) {
  const std::string there = both_forms("llama3").second;
  auto config = nlohmann::json::parse(file_text(there + "/config.json"));
  config["max_position_embeddings"] = 4;
  std::ofstream(there + "/config.json") << config;
  const std::vector<std::string> flags = {"--model.flavor=from_hf", "--checkpoint.enable",
                                          "--checkpoint.initial_load_path=" + there};
  EXPECT_NE(score_of("{\"tokens\": [1, 2, 3, 4, 5]}\n", flags), "");
  try {
    score_of("{\"tokens\": [1, 2]}\n{\"tokens\": [1, 2, 3, 4, 5, 6]}\n", flags);
    FAIL() << "was not refused";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("in.jsonl:2: 6 tokens"));
    EXPECT_THAT(error.what(), HasSubstr("4 positions"));
  }
}

TEST_F(ScoreFiles, AnErrorLeavesTheOutputAsItWas) {
  const std::string before = score_of("{\"tokens\": [1, 2, 3]}\n", {});
  EXPECT_THROW(score_of("{\"tokens\": [1, 2]}\n{\"tokens\": [9999]}\n", {}), DataError);
  EXPECT_EQ(file_text(folder_ / "out.jsonl"), before);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out.jsonl.partial"));
  EXPECT_THROW(score(config_of({}), {.input = (folder_ / "in.jsonl").string(),
                                     .output = (folder_ / "no/out.jsonl").string()}),
               ConfigError);
}

}  // namespace
}  // namespace coeus
