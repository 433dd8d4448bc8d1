// How runs count, balance and report the use of experts.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "run_folder_fixture.h"

namespace coeus {
namespace {

class ExpertBalanceRun : public RunTest {
 protected:
  /// The lines of metrics.jsonl of a short run of llama4 debugmodel.
  std::vector<nlohmann::json> lines(const std::string& name, std::vector<std::string> flags) {
    std::vector<std::string> all = {"--model.name=llama4", "--model.flavor=debugmodel",
                                    "--training.steps=4", "--training.seq_len=64",
                                    "--training.local_batch_size=4"};
    all.insert(all.end(), flags.begin(), flags.end());
    std::ifstream in(train(name, all) / "metrics.jsonl");
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }
};

TEST_F(ExpertBalanceRun, AccumulatedMicroBatchesAreCountedTogether) {
  const auto whole = lines("whole", {});
  const auto parts =
      lines("parts", {"--training.local_batch_size=1", "--training.global_batch_size=4"});
  ASSERT_EQ(whole.size(), 4U);
  ASSERT_EQ(parts.size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    for (const char* key : {"moe/layers.1.moe/max_load", "moe/layers.5.moe/min_load"})
      EXPECT_EQ(parts[i].at(key), whole[i].at(key)) << key << " of step " << i + 1;
    EXPECT_NEAR(parts[i].at("loss").get<double>(), whole[i].at("loss").get<double>(), 2e-5);
  }
}

TEST_F(ExpertBalanceRun, ValidationIsNotCounted) {
  const auto without = lines("without", {});
  const auto with = lines("with", {"--validation.enable", "--validation.dataset=synthetic",
                                   "--validation.freq=1", "--validation.steps=1",
                                   "--validation.seq_len=64", "--validation.local_batch_size=3"});
  std::vector<nlohmann::json> steps;
  for (const auto& line : with)
    if (line.contains("loss")) steps.push_back(line);
  ASSERT_EQ(steps.size(), without.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].at("loss"), without[i].at("loss"));
    EXPECT_EQ(steps[i].at("moe/max_load"), without[i].at("moe/max_load"));
  }
}

TEST_F(ExpertBalanceRun, ForcedBalanceLoadsAllExpertsAlike) {
  for (const auto& line : lines("forced", {"--training.debug_moe_force_load_balance"})) {
    EXPECT_EQ(line.at("moe/max_load"), 1.0);
    EXPECT_EQ(line.at("moe/min_load"), 1.0);
    EXPECT_EQ(line.at("moe/unused_experts"), 0.0);
  }
}

TEST_F(ExpertBalanceRun, AuxiliaryLossesActAndAreReportedBesideTheLoss) {
  const auto plain = lines("plain", {});
  EXPECT_FALSE(plain[0].contains("moe/z_loss"));
  const auto with =
      lines("with", {"--moe.z_loss_coeff=0.1", "--moe.sequence_balance_loss_coeff=0.1"});
  EXPECT_EQ(with[0].at("loss"), plain[0].at("loss"));
  EXPECT_NE(with[3].at("loss"), plain[3].at("loss"));
  // Eight experts with scores near each other: log(8)^2, and 1 for an even use.
  EXPECT_NEAR(with[0].at("moe/z_loss").get<double>(), std::pow(std::log(8.0), 2), 0.5);
  EXPECT_NEAR(with[0].at("moe/sequence_balance_loss").get<double>(), 1, 0.2);
  EXPECT_LT(with[3].at("moe/z_loss"), with[0].at("moe/z_loss"));
}

}  // namespace
}  // namespace coeus
