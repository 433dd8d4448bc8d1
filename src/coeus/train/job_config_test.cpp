#include "coeus/train/job_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "coeus/base/config_report.h"
#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct JobConfigTest : testing::Test {
  std::string write(const std::string& text) { return temporary.write("job.toml", text); }
  JobConfig load(const std::string& text, std::vector<std::string> flags = {}) {
    flags.insert(flags.begin(), write(text));
    return load_job_config(flags, &report);
  }
  std::string mistakes(const std::string& text, std::vector<std::string> flags = {}) {
    try {
      load(text, std::move(flags));
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.exit_code(), ExitCode::kConfiguration);
      return error.what();
    }
    return "";
  }

  TemporaryFolder temporary;
  std::string folder = temporary.path();
  ConfigReport report;
};

/// The settings of TorchTitan's llama3 debug_model.toml, of October 2025.
constexpr const char* kTorchTitanDebugModel = R"(
job = {dump_folder = "./outputs", description = "debugging", print_args = false}
[profiling]
enable_profiling = false
save_traces_folder = "profile_trace"
profile_freq = 10
enable_memory_snapshot = false
save_memory_snapshot_folder = "memory_snapshot"
[metrics]
log_freq = 1
disable_color_printing = false
enable_tensorboard = false
save_tb_folder = "tb"
enable_wandb = false
[model]
name = "llama3"
flavor = "debugmodel"
hf_assets_path = "./tests/assets/tokenizer"
[optimizer]
name = "AdamW"
lr = 8e-4
eps = 1e-8
[lr_scheduler]
warmup_steps = 2
decay_ratio = 0.8
decay_type = "linear"
min_lr_factor = 0.0
[training]
local_batch_size = 8
seq_len = 2048
max_norm = 1.0
steps = 10
dataset = "c4_test"
[parallelism]
data_parallel_replicate_degree = 1
data_parallel_shard_degree = -1
fsdp_reshard_after_forward = "default"
tensor_parallel_degree = 1
enable_async_tensor_parallel = false
pipeline_parallel_degree = 1
context_parallel_degree = 1
[checkpoint]
enable = false
folder = "checkpoint"
interval = 10
last_save_model_only = false
export_dtype = "float32"
async_mode = "disabled"
[activation_checkpoint]
mode = "selective"
selective_ac_option = '2'
[compile]
enable=false
components = ["model", "loss"]
[quantize.linear.float8]
enable_fsdp_float8_all_gather = false
precompute_float8_dynamic_scale_for_fsdp = false
filter_fqns = ["output"]
[validation]
enable = false
dataset = "c4_validation"
freq = 5
steps = 10
)";

TEST_F(JobConfigTest, LoadsTorchTitansDebugModel) {
  const JobConfig config = load(kTorchTitanDebugModel);
  EXPECT_THAT(report.warnings, IsEmpty());
  EXPECT_EQ(config.lr_scheduler.decay_ratio, 0.8);
  EXPECT_EQ(config.training.steps, 10);
  EXPECT_EQ(config.validation.freq, 5);
  EXPECT_THAT(config.quantize.linear.float8.filter_fqns, ElementsAre("output"));
  EXPECT_EQ(config.job.config_file, folder + "/job.toml");
}

TEST_F(JobConfigTest, AFlagWinsOverTheFileAndTheFileOverTheDefault) {
  const JobConfig config = load("[training]\nsteps = 500\nseq_len = 64", {"--training.steps=700"});
  EXPECT_EQ(config.training.steps, 700);
  EXPECT_EQ(config.training.seq_len, 64);
  EXPECT_EQ(config.training.local_batch_size, 8);
  EXPECT_EQ(report.source_of("training.steps").to_string(), "--training.steps");
  EXPECT_EQ(report.source_of("training.seq_len").to_string(), folder + "/job.toml:3");
  EXPECT_EQ(report.source_of("training.local_batch_size").to_string(), "default");
}

TEST_F(JobConfigTest, NeedsNoFileAndTakesItsNameFromAFlag) {
  EXPECT_EQ(load_job_config({}, &report), JobConfig{});
  const std::string path = write("[training]\nsteps = 500");
  EXPECT_EQ(load_job_config({"--job.config_file=" + path}, &report).training.steps, 500);
  EXPECT_EQ(load_job_config({"--job.config-file", path}, &report).training.steps, 500);
  EXPECT_EQ(load_job_config({path, "--job.config_file=" + path}, &report).training.steps, 500);
  EXPECT_THROW(load_job_config({path, "--job.config_file=other.toml"}, &report), ConfigError);
}

TEST_F(JobConfigTest, TellsAllMistakesOfFileAndFlagsAtOnce) {
  const std::string path = folder + "/job.toml";
  EXPECT_THAT(mistakes("[training]\nlr = 1e-3\nsteps = \"ten\"\n[parallelism]\n"
                       "enable_async_tensor_parallel = true",
                       {"--checkpoint.intervall=5", "stray"}),
              AllOf(HasSubstr("5 mistakes in the configuration:"),
                    HasSubstr(path + ":2: unknown key training.lr; did you mean optimizer.lr?"),
                    HasSubstr(path + ":3: training.steps = \"ten\": expected a whole number"),
                    HasSubstr(path + ":5: parallelism.enable_async_tensor_parallel = true: not "
                                     "supported yet: overlapping"),
                    HasSubstr("--checkpoint.intervall: unknown flag; did you mean "
                              "--checkpoint.interval?"),
                    HasSubstr("stray: unexpected argument")));
}

TEST_F(JobConfigTest, NamesLineAndColumnOfMalformedToml) {
  EXPECT_THAT(mistakes("[training]\nsteps = \n"), HasSubstr("job.toml:2:"));
}

TEST_F(JobConfigTest, RefusesFlagsOfOneDash) {
  EXPECT_THAT(mistakes("", {"-n"}), HasSubstr("-n: unknown flag"));
}

TEST_F(JobConfigTest, RefusesAMissingFile) {
  EXPECT_THROW(load_job_config({folder + "/missing.toml"}), ConfigError);
}

TEST_F(JobConfigTest, ReadsAMixtureOfDataSets) {
  const JobConfig config = load(
      "[[training.mixture]]\ndataset = \"json\"\npath = \"a.jsonl\"\nweight = 3\n"
      "[[training.mixture]]\ndataset = \"fortunes\"\n");
  EXPECT_THAT(config.training.mixture, ElementsAre(MixtureEntryConfig{"json", "a.jsonl", 3},
                                                   MixtureEntryConfig{"fortunes"}));
}

TEST_F(JobConfigTest, PrintsWhatReadsBackTheSameWithItsSources) {
  JobConfig config = load(std::string(kTorchTitanDebugModel),
                          {"--training.seed=7", "--lr_scheduler.decay_ratio=None",
                           "--training.no_deterministic", "--model.mask=causal & document"});
  const std::string printed = print_config(config, report);
  EXPECT_THAT(printed, testing::ContainsRegex("\nseed = 7 +# --training.seed\n"));
  EXPECT_THAT(printed, testing::ContainsRegex("\nsteps = 10 +# [^\n]*/job.toml:32\n"));
  EXPECT_THAT(printed, testing::ContainsRegex("\nbeta1 = 0.9 +# default\n"));
  EXPECT_THAT(printed, testing::ContainsRegex("\n# decay_ratio is not set +# --lr_sch"));
  EXPECT_EQ(load(printed), config);
}

TEST_F(JobConfigTest, TrainingNeedsThePathsOfItsDataSets) {
  const auto missing = [&](const std::string& text) -> std::string {
    try {
      check_training_inputs(load(text));
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(missing(""),
              HasSubstr("training.dataset = \"c4_test\": needs training.dataset_path"));
  EXPECT_EQ(missing("training.dataset_path = \"x\""), "");
  EXPECT_EQ(missing("training.dataset = \"fortunes\""), "");
  EXPECT_THAT(missing("training.dataset = \"synthetic\"\nvalidation.enable = true"),
              HasSubstr("needs validation.dataset_path"));
  EXPECT_THAT(missing("training.mixture = [{dataset = \"synthetic\"}, {dataset = \"text\"}]"),
              HasSubstr("training.mixture[1].dataset = \"text\": needs its path"));
}

TEST(JobConfigFiles, TheFilesInConfigsLoadWithoutAWarning) {
  int files = 0;
  const std::filesystem::path configs = std::string(COEUS_SOURCE_DIR) + "/configs";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(configs)) {
    if (entry.path().extension() != ".toml") continue;
    ConfigReport report;
    EXPECT_NO_THROW(load_job_config({entry.path()}, &report)) << entry.path();
    EXPECT_THAT(report.warnings, IsEmpty()) << entry.path();
    ++files;
  }
  EXPECT_GE(files, 8);
}

}  // namespace
}  // namespace coeus
