// TorchTitan's losses, step by step: the figures and how they were made are in docs/numerics.md.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "coeus/train/metrics/loss_curve.h"
#include "parity/seed_weights.h"
#include "run_folder_fixture.h"

namespace coeus {
namespace {

/// How far a right implementation may be, by TorchTitan's own spread between a CPU and a GPU.
void expect_within_bounds(const LossCurve& got, const LossCurve& want) {
  ASSERT_EQ(want.size(), 20U);
  ASSERT_EQ(got.size(), want.size());
  int spikes = 0;
  for (const auto& [step, expected] : want) {
    const CurvePoint& point = got.at(step);
    EXPECT_NEAR(point.loss, expected.loss, step <= 10 ? 2e-5 : 1e-4) << "step " << step;
    const double relative = std::fabs(*point.grad_norm / *expected.grad_norm - 1);
    // A spike multiplies rounding: at most two of the later steps may be off by more.
    if (relative > 2e-3 && step > 10) ++spikes;
    EXPECT_LE(relative, step <= 10 ? 2e-3 : 5e-2) << "grad_norm of step " << step;
  }
  EXPECT_LE(spikes, 2);
}

class TorchTitanLosses : public RunTest {
 protected:
  LossCurve run(const std::string& flavor, std::vector<std::string> flags) {
    const auto weights = folder_ / "seed.safetensors";
    write_seed_weights("llama3", flavor, weights);
    flags.insert(flags.end(),
                 {"--model.flavor=" + flavor, "--training.steps=20", "--training.seq_len=512",
                  "--training.local_batch_size=2", "--checkpoint.enable", "--checkpoint.load_only",
                  "--checkpoint.initial_load_path=" + weights.string()});
    return read_loss_curve(train("run", flags) / "metrics.jsonl");
  }

  void expect_synthetic(const std::string& flavor, std::vector<std::string> flags = {}) {
    expect_within_bounds(
        run(flavor, std::move(flags)),
        read_loss_curve(COEUS_SOURCE_DIR "/tests/parity/synthetic/llama3_" + flavor + ".csv"));
  }

  void expect_text(const std::string& flavor) {
    const char* parity = std::getenv("COEUS_PARITY");
    if (parity == nullptr) GTEST_SKIP() << "COEUS_PARITY does not name the folder of text figures";
    const std::filesystem::path folder = parity;
    expect_within_bounds(
        run(flavor,
            {"--training.dataset=c4_test", "--training.dataset_path=" + (folder / "data").string(),
             "--model.hf_assets_path=" + (folder / "tokenizer").string()}),
        read_loss_curve(folder / "expected" / "text" / ("llama3_" + flavor + ".csv")));
  }
};

TEST_F(TorchTitanLosses, SyntheticDebugmodel) { expect_synthetic("debugmodel"); }
TEST_F(TorchTitanLosses, SyntheticDebugmodelFlexAttn) { expect_synthetic("debugmodel_flex_attn"); }
TEST_F(TorchTitanLosses, SyntheticDebugmodelFlexAttnByTheReferenceEngine) {
  expect_synthetic("debugmodel_flex_attn", {"--attention.engine=reference"});
}
TEST_F(TorchTitanLosses, TextDebugmodel) { expect_text("debugmodel"); }
TEST_F(TorchTitanLosses, TextDebugmodelFlexAttn) { expect_text("debugmodel_flex_attn"); }

TEST(SeedWeights, StartAsDocumented) {
  EXPECT_EQ(seed_values("layers.0.attention.wq.weight", false, 4),
            (std::vector<float>{-0.0270638634F, -0.0108742323F, -0.0277519338F, -0.0129765552F}));
  EXPECT_EQ(seed_values("norm.weight", true, 3),
            (std::vector<float>{0.952589512F, 0.905382931F, 1.0141046F}));
}

}  // namespace
}  // namespace coeus
