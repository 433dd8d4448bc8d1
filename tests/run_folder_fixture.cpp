#include "run_folder_fixture.h"

#include "coeus/base/floating_point.h"
#include "coeus/ops/test_device.h"
#include "coeus/train/job_config.h"

namespace coeus {

RunTest::RunTest() {
  flush_denormals_to_zero();  // as main does
}

std::filesystem::path RunTest::train(const std::string& name, std::vector<std::string> flags) {
  const std::filesystem::path out = folder_ / name;
  std::vector<std::string> all = {
      COEUS_SOURCE_DIR "/configs/llama3/debug_model.toml",
      "--job.dump_folder=" + out.string(),
      "--metrics.log_freq=1",
      "--training.dataset=synthetic",
      "--training.mixed_precision_param=float32",
      "--activation_checkpoint.mode=none",
      test_device().is_cpu() ? "--job.device=cpu" : "--job.device=cuda"};
  all.insert(all.end(), flags.begin(), flags.end());
  const JobConfig config = load_job_config(all);
  check_training_inputs(config);
  JobRanks ranks(config);
  Trainer(config, ranks, reading_).train();
  return out;
}

void RunTest::copy_checkpoint(const std::string& from, const std::string& to, int64_t step) const {
  const auto saved = std::filesystem::path("checkpoint") / ("step-" + std::to_string(step));
  std::filesystem::create_directories(folder_ / to / "checkpoint");
  std::filesystem::copy(folder_ / from / saved, folder_ / to / saved,
                        std::filesystem::copy_options::recursive);
}

void RunTest::expect_equal_bits(const LossCurve& a, const LossCurve& b) {
  expect_continues(a, b, 0);
}

void RunTest::expect_continues(const LossCurve& resumed, const LossCurve& whole, int64_t step) {
  ASSERT_EQ(resumed.size(), whole.size() - step);
  for (const auto& [at, point] : resumed) {
    EXPECT_EQ(point.loss, whole.at(at).loss) << "step " << at;
    EXPECT_EQ(point.grad_norm, whole.at(at).grad_norm) << "step " << at;
  }
}

}  // namespace coeus
