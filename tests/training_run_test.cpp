// What must hold of whole runs on one device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "coeus/base/error.h"
#include "coeus/train/job_config.h"
#include "coeus/train/metrics/compare.h"
#include "coeus/train/metrics/loss_curve.h"
#include "coeus/train/trainer.h"
#include "run_folder_fixture.h"

namespace coeus {
namespace {

using testing::HasSubstr;

class TrainingRun : public RunTest {
 protected:
  /// A short run: 8 steps of 2 rows of 64 tokens, warmed up in 2.
  LossCurve losses(const std::string& name, std::vector<std::string> flags) {
    std::vector<std::string> all = {"--training.steps=8", "--training.seq_len=64",
                                    "--training.local_batch_size=2"};
    all.insert(all.end(), flags.begin(), flags.end());
    return read_loss_curve(train(name, all) / "metrics.jsonl");
  }

  /// Trains, then resumes a second run from the first one's checkpoint of `step`: the rest must
  /// repeat.
  void expect_resume_is_exact(const std::vector<std::string>& flags, int64_t step) {
    const LossCurve whole = losses("whole", flags);
    copy_checkpoint("whole", "resumed", step);
    const LossCurve resumed = losses("resumed", flags);
    expect_continues(resumed, whole, step);
  }
};

TEST_F(TrainingRun, TheLossFalls) {
  const LossCurve curve = losses("a", {"--training.steps=40", "--optimizer.lr=4e-3"});
  EXPECT_LT(curve.at(40).loss, curve.at(1).loss - 0.4);
}

TEST_F(TrainingRun, TheSameRunTwiceGivesTheSameBits) {
  expect_equal_bits(losses("a", {"--model.flavor=debugmodel_flex_attn"}),
                    losses("b", {"--model.flavor=debugmodel_flex_attn"}));
}

TEST_F(TrainingRun, AnotherSeedGivesOtherWeights) {
  EXPECT_NE(losses("a", {"--training.seed=1"}).at(1).loss,
            losses("b", {"--training.seed=2"}).at(1).loss);
}

TEST_F(TrainingRun, ActivationCheckpointingChangesNoBit) {
  for (const char* dtype : {"float32", "bfloat16"}) {
    const std::string precision = std::string("--training.mixed_precision_param=") + dtype;
    const std::string prefix = dtype;
    const LossCurve none = losses(prefix + "none", {precision});
    expect_equal_bits(none,
                      losses(prefix + "full", {precision, "--activation_checkpoint.mode=full"}));
    expect_equal_bits(
        none, losses(prefix + "selective", {precision, "--activation_checkpoint.mode=selective",
                                            "--activation_checkpoint.selective_ac_option=2"}));
  }
}

TEST_F(TrainingRun, GradientAccumulationEqualsOneLargeBatch) {
  const LossCurve large = losses("large", {"--training.local_batch_size=4"});
  const LossCurve accumulated =
      losses("accumulated", {"--training.local_batch_size=1", "--training.global_batch_size=4"});
  const Comparison comparison =
      compare_curves(large, accumulated, {.loss_absolute = 2e-5, .grad_norm_relative = 2e-3});
  EXPECT_TRUE(comparison.within()) << comparison_table(comparison, {});
}

TEST_F(TrainingRun, ALossByChunksIsThatOfAllLogitsAtOnce) {
  const LossCurve at_once = losses("at_once", {});
  const LossCurve by_chunks = losses("by_chunks", {"--training.loss_chunk_size=50"});
  const Comparison comparison =
      compare_curves(at_once, by_chunks, {.loss_absolute = 2e-5, .grad_norm_relative = 2e-3});
  EXPECT_TRUE(comparison.within()) << comparison_table(comparison, {});
}

TEST_F(TrainingRun, AResumedRunContinuesBitForBit) {
  expect_resume_is_exact({"--checkpoint.enable", "--checkpoint.interval=3",
                          "--checkpoint.keep_latest_k=0", "--model.flavor=debugmodel_flex_attn"},
                         3);
}

TEST_F(TrainingRun, ACheckpointSavedWhileTrainingWentOnIsThatOfItsStep) {
  expect_resume_is_exact({"--checkpoint.enable", "--checkpoint.interval=1",
                          "--checkpoint.async_mode=async", "--checkpoint.keep_latest_k=0"},
                         5);
}

TEST_F(TrainingRun, ResumingOnOtherDataIsRefusedAndNamesTheDifference) {
  losses("a", {"--checkpoint.enable", "--checkpoint.interval=3"});
  copy_checkpoint("a", "b", 3);
  const auto text = temporary_.write("other.jsonl", "{\"text\": \"of other data\"}\n");
  try {
    losses("b", {"--checkpoint.enable", "--training.dataset=json",
                 "--training.dataset_path=" + text.string(),
                 "--model.hf_assets_path=" COEUS_SOURCE_DIR "/tests/tokenizer/llama3"});
    FAIL() << "resumed";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("dataset/kind was \"synthetic\", is \"json\""));
  }
}

TEST_F(TrainingRun, ResumingShuffledTextUnderAccumulationAndAutocastContinuesBitForBit) {
  std::filesystem::create_directories(folder_ / "text");
  for (int file = 0; file < 2; ++file) {
    std::ofstream out(folder_ / "text" / (std::to_string(file) + ".jsonl"));
    for (int i = 0; i < 40; ++i)
      out << nlohmann::json{{"text",
                             "document " + std::to_string(i * 37 + file) + std::string(i, 'x')}}
          << "\n";
  }
  const std::vector<std::string> flags = {"--training.dataset=json",
                                          "--training.dataset_path=" + (folder_ / "text").string(),
                                          "--training.shuffle",
                                          "--training.positions=document",
                                          "--training.global_batch_size=4",
                                          "--training.mixed_precision_param=bfloat16",
                                          "--training.deterministic",
                                          "--model.hf_assets_path=" COEUS_SOURCE_DIR
                                          "/tests/tokenizer/llama3",
                                          "--model.flavor=debugmodel_flex_attn",
                                          "--checkpoint.enable",
                                          "--checkpoint.interval=5",
                                          "--checkpoint.keep_latest_k=0"};
  expect_resume_is_exact(flags, 5);
}

/// Resumes from step 4 of an 8-step run, without some of what was saved.
class ExcludedStates : public TrainingRun {
 protected:
  ExcludedStates() {
    train_on("whole");
    whole_ = read_metrics("whole");
  }

  /// The logged steps, as JSON, of the run that leaves out `excluded`.
  std::map<int64_t, nlohmann::json> resume_without(const std::string& excluded) {
    copy_checkpoint("whole", "resumed", 4);
    train_on("resumed", {"--checkpoint.exclude_from_loading=" + excluded});
    return read_metrics("resumed");
  }

  void expect_equal_but_time(const std::map<int64_t, nlohmann::json>& resumed, int64_t step) {
    for (const char* key : {"loss", "grad_norm", "lr", "n_tokens_seen"})
      EXPECT_EQ(resumed.at(step)[key], whole_.at(step)[key]) << key << " of step " << step;
  }

  std::map<int64_t, nlohmann::json> whole_;

 private:
  void train_on(const std::string& name, std::vector<std::string> flags = {}) {
    flags.insert(flags.end(), {"--checkpoint.enable", "--checkpoint.interval=4",
                               "--checkpoint.no_last_save_model_only", "--optimizer.lr=4e-3"});
    losses(name, flags);
  }
  std::map<int64_t, nlohmann::json> read_metrics(const std::string& name) {
    std::map<int64_t, nlohmann::json> lines;
    std::ifstream in(folder_ / name / "metrics.jsonl");
    for (std::string line; std::getline(in, line);) {
      const nlohmann::json object = nlohmann::json::parse(line);
      lines[object["step"]] = object;
    }
    return lines;
  }
};

TEST_F(ExcludedStates, TheModelIsDrawnAnew) {
  const auto resumed = resume_without("model");
  EXPECT_EQ(resumed.begin()->first, 5);
  EXPECT_EQ(resumed.at(5)["lr"], whole_.at(5)["lr"]);
  EXPECT_GT(resumed.at(5)["loss"].get<double>(), whole_.at(5)["loss"].get<double>() + 0.1);
  EXPECT_NEAR(resumed.at(5)["loss"].get<double>(), whole_.at(1)["loss"].get<double>(), 0.1);
}

TEST_F(ExcludedStates, TheOptimizersMomentsStartAtZero) {
  const auto resumed = resume_without("optimizer");
  expect_equal_but_time(resumed, 5);
  EXPECT_NE(resumed.at(6)["loss"], whole_.at(6)["loss"]);
  EXPECT_EQ(resumed.at(6)["lr"], whole_.at(6)["lr"]);
}

TEST_F(ExcludedStates, TheScheduleOfTheLearningRateStartsAgain) {
  const auto resumed = resume_without("lr_scheduler");
  EXPECT_EQ(resumed.at(5)["loss"], whole_.at(5)["loss"]);
  for (int64_t step = 5; step <= 8; ++step)
    EXPECT_EQ(resumed.at(step)["lr"], whole_.at(step - 4)["lr"]) << "step " << step;
}

TEST_F(ExcludedStates, TheDataStartAgain) {
  const auto resumed = resume_without("dataloader");
  EXPECT_EQ(resumed.begin()->first, 5);
  EXPECT_NE(resumed.at(5)["loss"], whole_.at(5)["loss"]);
  EXPECT_EQ(resumed.at(5)["lr"], whole_.at(5)["lr"]);
}

TEST_F(ExcludedStates, StepsAndTokensAreCountedFromOneAgain) {
  const auto resumed = resume_without("train_state");
  EXPECT_EQ(resumed.begin()->first, 1);
  EXPECT_EQ(resumed.rbegin()->first, 8);
  EXPECT_EQ(resumed.at(1)["loss"], whole_.at(5)["loss"]);
  EXPECT_EQ(resumed.at(1)["n_tokens_seen"], whole_.at(1)["n_tokens_seen"]);
}

TEST_F(ExcludedStates, WithoutAnyOfThemTheRunIsANewOne) {
  const auto resumed = resume_without("model,optimizer,lr_scheduler,dataloader,train_state");
  for (int64_t step = 1; step <= 8; ++step) expect_equal_but_time(resumed, step);
}

TEST_F(TrainingRun, AMaskThatIsNoListOfRunsTrainsTheSameBitsRecomputedUnderAutocast) {
  const std::vector<std::string> flags = {
      "--model.mask=sliding_window(9)", "--training.steps=3", "--training.seq_len=1200",
      "--training.local_batch_size=1", "--training.mixed_precision_param=bfloat16"};
  std::vector<std::string> full = flags;
  full.push_back("--activation_checkpoint.mode=full");
  expect_equal_bits(losses("none", flags), losses("full", full));
}

TEST_F(TrainingRun, BfloatAutocastStaysNearFloat) {
  const LossCurve wide = losses("wide", {});
  const LossCurve narrow = losses("narrow", {"--training.mixed_precision_param=bfloat16"});
  EXPECT_NE(narrow.at(8).loss, wide.at(8).loss);
  EXPECT_NEAR(narrow.at(8).loss, wide.at(8).loss, 0.05);
}

TEST_F(TrainingRun, ParametersMayBeBfloat16) {
  const LossCurve curve = losses("a", {"--training.dtype=bfloat16"});
  EXPECT_LT(curve.at(8).loss, curve.at(1).loss);
}

TEST_F(TrainingRun, AMaskExpressionReplacesTheFlavoursMask) {
  expect_equal_bits(losses("flavor", {"--model.flavor=debugmodel_flex_attn"}),
                    losses("expression", {"--model.mask=causal & document"}));
  EXPECT_NE(losses("full", {"--model.mask=full"}).at(1).loss, losses("causal", {}).at(1).loss);
}

TEST_F(TrainingRun, EveryKindOfOptimizerImplementationGivesTheSameBits) {
  const LossCurve fused = losses("fused", {});
  expect_equal_bits(fused, losses("foreach", {"--optimizer.implementation=foreach"}));
  expect_equal_bits(fused, losses("loop", {"--optimizer.implementation=for-loop"}));
  EXPECT_NE(losses("adam", {"--optimizer.name=Adam"}).at(8).loss, fused.at(8).loss);
}

TEST_F(TrainingRun, ANonFiniteGradientStopsBeforeTheUpdateAndNamesTheTensor) {
  try {
    losses("a", {"--optimizer.lr=1e30", "--lr_scheduler.warmup_steps=0"});
    FAIL() << "the run did not stop";
  } catch (const NonFiniteError& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kNonFinite);
    EXPECT_THAT(error.what(), HasSubstr("step 2"));
    EXPECT_THAT(error.what(), HasSubstr("gradients are bad in layers.5 (attention.wq"));
  }
}

/// As on a GPU: a step's numbers are read with the next one under way.
class LateReading : public TrainingRun {
 protected:
  /// What a run wrote of every step, but for times and memory.
  std::vector<nlohmann::json> lines_of(const std::string& name, Trainer::Reading reading) {
    reading_ = reading;
    losses(name, {"--model.name=llama4", "--model.flavor=debugmodel", "--checkpoint.enable",
                  "--checkpoint.interval=3", "--validation.enable",
                  "--validation.dataset=synthetic", "--validation.freq=5", "--validation.steps=2",
                  "--validation.seq_len=32", "--validation.local_batch_size=3"});
    std::vector<nlohmann::json> lines;
    std::ifstream in(folder_ / name / "metrics.jsonl");
    for (std::string line; std::getline(in, line);) {
      nlohmann::json object = nlohmann::json::parse(line);
      if (object.contains("loss")) {
        EXPECT_NEAR(
            object["tokens_per_second"].get<double>() * object["step_seconds"].get<double>(),
            2 * 64, 1e-6)
            << "a step's tokens over its time";
      }
      for (const char* key :
           {"tokens_per_second", "memory_gib", "memory_active_gib", "tflops", "step_seconds",
            "data_wait_seconds", "data_wait_fraction", "wall_time", "validation_seconds"})
        object.erase(key);
      lines.push_back(std::move(object));
    }
    return lines;
  }

  /// What is said of a step that is not finite.
  std::string complaint(const std::string& name, Trainer::Reading reading) {
    reading_ = reading;
    try {
      losses(name, {"--optimizer.lr=1e30", "--lr_scheduler.warmup_steps=0"});
    } catch (const NonFiniteError& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(LateReading, ChangesNothingThatIsWritten) {
  const auto at_once = lines_of("at_once", Trainer::Reading::kAtOnce);
  EXPECT_EQ(at_once.size(), 8U + 2U);
  EXPECT_EQ(lines_of("late", Trainer::Reading::kLate), at_once);
  copy_checkpoint("late", "resumed", 3);
  expect_continues(losses("resumed", {"--model.name=llama4", "--model.flavor=debugmodel",
                                      "--checkpoint.enable", "--checkpoint.interval=3"}),
                   read_loss_curve(folder_ / "at_once" / "metrics.jsonl"), 3);
}

TEST_F(LateReading, NamesTheStepThatWasNotFiniteAsItWas) {
  const std::string at_once = complaint("at_once", Trainer::Reading::kAtOnce);
  EXPECT_THAT(at_once, HasSubstr("step 2"));
  EXPECT_EQ(complaint("late", Trainer::Reading::kLate), at_once);
}

TEST_F(TrainingRun, ValidationWritesItsOwnLines) {
  losses("a",
         {"--validation.enable", "--validation.dataset=synthetic", "--validation.freq=4",
          "--validation.steps=2", "--validation.seq_len=32", "--validation.local_batch_size=3"});
  std::ifstream lines(folder_ / "a" / "metrics.jsonl");
  std::vector<int64_t> validated;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json object = nlohmann::json::parse(line);
    if (!object.contains("validation_loss")) continue;
    EXPECT_FALSE(object.contains("loss"));
    EXPECT_NEAR(object["validation_loss"].get<double>(), 8, 1.5);
    validated.push_back(object["step"]);
  }
  EXPECT_EQ(validated, (std::vector<int64_t>{1, 4, 8}));
}

TEST_F(TrainingRun, ASignalEndsTheRunCleanlyWithACheckpoint) {
  // Raised by the log line of step 3, so that nothing has to be waited for.
  std::jthread sender([&](const std::stop_token& ended) {
    const auto file = folder_ / "a" / "metrics.jsonl";
    for (int64_t lines = 0; lines < 3 && !ended.stop_requested();) {
      std::ifstream in(file);
      lines = std::count(std::istreambuf_iterator<char>(in), {}, '\n');
      std::this_thread::yield();
    }
    if (!ended.stop_requested()) std::raise(SIGTERM);
  });
  const LossCurve curve = losses(
      "a", {"--training.steps=100000", "--checkpoint.enable", "--checkpoint.interval=90000"});
  sender.join();
  const int64_t last = curve.rbegin()->first;
  EXPECT_GE(last, 3);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "a" / "checkpoint" /
                                      ("step-" + std::to_string(last)) / "manifest.json"));
}

// Every section and key that TorchTitan's debug files have, at values of our own.
TEST_F(TrainingRun, AFileInTorchTitansFormTrainsOnTextThatFlagsName) {
  const auto text = temporary_.write("text/a.jsonl", [] {
    std::string lines;
    for (int i = 0; i < 60; ++i)
      lines += nlohmann::json{{"text", "line " + std::to_string(i * 7919) + std::string(i, 'y')}}
                   .dump() +
               "\n";
    return lines;
  }());
  const auto file = temporary_.write("job.toml", R"(
[job]
dump_folder = "never used"
description = "a file as TorchTitan has them"
print_args = true
[profiling]
enable_profiling = false
save_traces_folder = "traces"
profile_freq = 3
enable_memory_snapshot = false
save_memory_snapshot_folder = "snapshots"
[metrics]
log_freq = 1
disable_color_printing = true
enable_tensorboard = true
save_tb_folder = "board"
enable_wandb = false
[model]
name = "llama3"
flavor = "debugmodel"
hf_assets_path = "never used"
[optimizer]
name = "AdamW"
lr = 1e-3
eps = 1e-8
[lr_scheduler]
warmup_steps = 1
decay_ratio = 0.5
decay_type = "cosine"
min_lr_factor = 0.1
[training]
local_batch_size = 2
seq_len = 64
max_norm = 1.0
steps = 3
dataset = "c4_test"
[parallelism]
data_parallel_replicate_degree = 1
data_parallel_shard_degree = -1
fsdp_reshard_after_forward = "always"
tensor_parallel_degree = 1
enable_async_tensor_parallel = false
pipeline_parallel_degree = 1
context_parallel_degree = 1
[checkpoint]
enable = true
folder = "saved"
interval = 2
last_save_model_only = true
export_dtype = "bfloat16"
async_mode = "disabled"
[activation_checkpoint]
mode = "selective"
selective_ac_option = "2"
[compile]
enable = false
components = ["model", "loss"]
[quantize.linear.float8]
enable_fsdp_float8_all_gather = false
precompute_float8_dynamic_scale_for_fsdp = false
filter_fqns = ["output"]
[validation]
enable = true
dataset = "c4_validation"
freq = 2
steps = 1
)");
  const std::filesystem::path out = folder_ / "out";
  const JobConfig config = load_job_config(
      {file.string(), "--job.dump_folder=" + out.string(), "--validation.seq_len=32",
       "--training.dataset_path=" + text.string(), "--validation.dataset_path=" + text.string(),
       "--model.hf_assets_path=" COEUS_SOURCE_DIR "/tests/tokenizer/llama3"});
  check_training_inputs(config);
  train_alone(config);
  EXPECT_EQ(read_loss_curve(out / "metrics.jsonl").size(), 3u);
  EXPECT_TRUE(std::filesystem::exists(out / "saved" / "step-2" / "optimizer.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(out / "saved" / "step-3" / "optimizer.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(out / "board"));
}

TEST_F(TrainingRun, ARunThatCannotFitIsRefusedBeforeItStarts) {
  EXPECT_THROW(losses("a", {"--model.flavor=405B"}), OutOfMemoryError);
}

}  // namespace
}  // namespace coeus
