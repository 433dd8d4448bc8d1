#include "run_folder_fixture.h"

#include "coeus/base/floating_point.h"
#include "coeus/train/job_config.h"
#include "coeus/train/trainer.h"

namespace coeus {

RunTest::RunTest() {
  flush_denormals_to_zero();  // as main does
}

std::filesystem::path RunTest::train(const std::string& name, std::vector<std::string> flags) {
  const std::filesystem::path out = folder_ / name;
  std::vector<std::string> all = {COEUS_SOURCE_DIR "/configs/llama3/debug_model.toml",
                                  "--job.dump_folder=" + out.string(),
                                  "--metrics.log_freq=1",
                                  "--training.dataset=synthetic",
                                  "--training.mixed_precision_param=float32",
                                  "--activation_checkpoint.mode=none"};
  all.insert(all.end(), flags.begin(), flags.end());
  const JobConfig config = load_job_config(all);
  check_training_inputs(config);
  Trainer(config).train();
  return out;
}

}  // namespace coeus
