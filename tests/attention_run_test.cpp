// What whole runs say about their attention.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coeus/train/metrics/loss_curve.h"
#include "run_folder_fixture.h"

namespace coeus {
namespace {

class AttentionRun : public RunTest {
 protected:
  /// A run of three steps under a mask that is no list of runs; returns its folder.
  std::filesystem::path run(const std::string& name, std::vector<std::string> flags) {
    std::vector<std::string> all = {"--training.steps=3", "--training.seq_len=64",
                                    "--training.local_batch_size=2",
                                    "--model.flavor=debugmodel_flex_attn",
                                    "--model.mask=causal & document & sliding_window(20)"};
    all.insert(all.end(), flags.begin(), flags.end());
    return train(name, all);
  }
};

TEST_F(AttentionRun, CheckingChangesNoBitAndWritesTheDifferences) {
  const auto plain = run("plain", {});
  for (const char* const mode : {"none", "full"}) {
    const auto checked = run(
        mode, {"--attention.engine=check", std::string("--activation_checkpoint.mode=") + mode});
    const LossCurve want = read_loss_curve(plain / "metrics.jsonl");
    const LossCurve got = read_loss_curve(checked / "metrics.jsonl");
    for (const auto& [step, point] : want) {
      EXPECT_EQ(got.at(step).loss, point.loss) << "step " << step;
      EXPECT_EQ(got.at(step).grad_norm, point.grad_norm) << "step " << step;
    }
    std::ifstream lines(checked / "metrics.jsonl");
    int steps = 0;
    for (std::string line; std::getline(lines, line); ++steps) {
      const auto json = nlohmann::json::parse(line);
      for (const char* const key : {"attention_check/output", "attention_check/grad_q",
                                    "attention_check/grad_k", "attention_check/grad_v"}) {
        EXPECT_LT(json.at(key).get<double>(), 1e-4) << key;
        EXPECT_GE(json.at(key).get<double>(), 0) << key;
      }
    }
    EXPECT_EQ(steps, 3);
  }
}

}  // namespace
}  // namespace coeus
