#include "coeus/train/job_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coeus/base/error.h"
#include "coeus/train/job_config.h"
#include "coeus/train/unsupported_features.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// The message of the refusal, or nothing.
std::string refusal(const std::vector<std::string>& flags, ConfigReport* report = nullptr) {
  ConfigReport unused;
  try {
    load_job_config(flags, report == nullptr ? &unused : report);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

std::vector<std::string> warnings(const std::vector<std::string>& flags) {
  ConfigReport report;
  EXPECT_EQ(refusal(flags, &report), "");
  return report.warnings;
}

struct Asked {
  std::vector<std::string> flags;
  std::string key;
};

const std::vector<Asked> kUnsupported = {
    {{"--profiling.enable_memory_snapshot"}, "profiling.enable_memory_snapshot"},
    {{"--metrics.enable_wandb"}, "metrics.enable_wandb"},
    {{"--model.converters=float8"}, "model.converters"},
    {{"--model.print_after_conversion"}, "model.print_after_conversion"},
    {{"--optimizer.early_step_in_backward"}, "optimizer.early_step_in_backward"},
    {{"--training.gc_debug"}, "training.gc_debug"},
    {{"--data.spatial_merge_size=2"}, "data.spatial_merge_size"},
    {{"--parallelism.pipeline_parallel_split_points=layers.2"},
     "parallelism.pipeline_parallel_split_points"},
    {{"--parallelism.enable_async_tensor_parallel"}, "parallelism.enable_async_tensor_parallel"},
    {{"--activation_checkpoint.mode=memory_budget"}, "activation_checkpoint.mode"},
    {{"--memory_estimation.enable"}, "memory_estimation.enable"},
    {{"--fault_tolerance.enable"}, "fault_tolerance.enable"},
    {{"--experimental.custom_import=x"}, "experimental.custom_import"},
    {{"--experimental.custom_args_module=x"}, "experimental.custom_args_module"},
};

TEST(Unsupported, IsRefusedByNameWhenAskedFor) {
  for (const Asked& asked : kUnsupported)
    EXPECT_THAT(refusal(asked.flags),
                testing::MatchesRegex("--[^:]*: " + asked.key + " = .*: not supported yet: .*"));
}

TEST(Unsupported, EveryEntryIsTestedHere) {
  EXPECT_EQ(kUnsupported.size(), unsupported_features().size());
}

TEST(Unsupported, TheModuleOfImageKeysIsBuiltIn) {
  EXPECT_EQ(refusal({"--experimental.custom_args_module="
                     "torchtitan.experiments.vlm.assets.job_config"}),
            "");
}

TEST(Unsupported, EveryEntryNamesKeysThatExist) {
  JobConfig config;
  ConfigSchema schema;
  describe(config, schema);
  for (const UnsupportedFeature& feature : unsupported_features()) {
    EXPECT_NE(schema.find(feature.key), nullptr) << feature.key;
    EXPECT_FALSE(feature.is_asked_for(config)) << feature.key << " by default";
    for (std::string_view key : feature.also)
      EXPECT_TRUE(key.ends_with('.') ? schema.has_section(key.substr(0, key.size() - 1))
                                     : schema.find(key) != nullptr)
          << key;
  }
}

TEST(Unsupported, KeysOfAFeatureThatIsOffAreAcceptedAndTheirValuesChecked) {
  EXPECT_EQ(refusal({"--checkpoint.last_save_in_hf", "--activation_checkpoint.mode=full",
                     "--activation_checkpoint.selective_ac_option=op",
                     "--parallelism.pipeline_parallel_schedule=zbvzerobubble",
                     "--quantize.linear.float8.recipe_name=rowwise",
                     "--quantize.grouped_mm.mx.fqns=experts", "--fault_tolerance.group_size=2",
                     "--checkpoint.keep_latest_k=1", "--training.gc_freq=1"}),
            "");
  EXPECT_THAT(refusal({"--parallelism.pipeline_parallel_schedule=2F2B"}), HasSubstr("\"1F1B\""));
  EXPECT_THAT(refusal({"--quantize.linear.float8.recipe_name=colwise"}), HasSubstr("\"rowwise\""));
  EXPECT_THAT(refusal({"--compile.components=model,los"}), HasSubstr("\"loss\""));
  EXPECT_THAT(refusal({"--checkpoint.async_mode=sometimes"}), HasSubstr("\"disabled\""));
  for (const char* option : {"ops", "0", "-1", "", "2.5", "02"})
    EXPECT_THAT(refusal({"--activation_checkpoint.mode=none",
                         std::string("--activation_checkpoint.selective_ac_option=") + option}),
                HasSubstr("expected text, \"op\" or a whole number"));
}

TEST(JobRules, TheGlobalBatchIsAMultipleOfTheLocal) {
  EXPECT_EQ(refusal({"--training.local_batch_size=4", "--training.global_batch_size=12"}), "");
  EXPECT_THAT(refusal({"--training.local_batch_size=8", "--training.global_batch_size=12"}),
              HasSubstr("--training.global_batch_size: training.global_batch_size = 12: must be a "
                        "multiple of training.local_batch_size x data-parallel ranks = 8 x 1 = 8"));
}

std::string context_method(std::vector<std::string> flags) {
  return load_job_config(flags).parallelism.context_parallel_method;
}

TEST(JobRules, TorchTitansRotateMethodCountsWhereItIsSet) {
  EXPECT_EQ(context_method({}), "auto");
  EXPECT_EQ(context_method({"--parallelism.context_parallel_rotate_method=allgather"}),
            "allgather");
  EXPECT_EQ(context_method({"--parallelism.context_parallel_rotate_method=alltoall"}), "ring");
  EXPECT_EQ(context_method({"--parallelism.context_parallel_rotate_method=allgather",
                            "--parallelism.context_parallel_method=needed"}),
            "needed");
  EXPECT_THAT(refusal({"--parallelism.context_parallel_rotate_method=alltoall",
                       "--parallelism.context_parallel_method=needed"}),
              HasSubstr("set one of the two"));
}

TEST(JobRules, SlackIsForTheBalancerThatUsesIt) {
  EXPECT_EQ(refusal({"--parallelism.context_parallel_slack=0.1"}), "");
  EXPECT_THAT(refusal({"--parallelism.context_parallel_slack=0.1",
                       "--parallelism.context_parallel_load_balancer=headtail"}),
              HasSubstr("would be ignored"));
}

TEST(JobRules, ALossByChunksWantsLogitsWhereTheyAre) {
  const std::string chunks = "--training.loss_chunk_size=100";
  const std::string gathers = "--parallelism.disable_loss_parallel";
  const std::string splits = "--parallelism.tensor_parallel_degree=2";
  EXPECT_EQ(refusal({chunks, gathers}), "");
  EXPECT_EQ(refusal({chunks, splits}), "");
  EXPECT_EQ(refusal({gathers, splits}), "");
  EXPECT_THAT(refusal({chunks, gathers, splits}),
              HasSubstr("training.loss_chunk_size = 100: makes the loss without ever holding all "
                        "logits, and parallelism.disable_loss_parallel gathers them"));
}

TEST(JobRules, ATraceFitsBetweenTraces) {
  EXPECT_EQ(refusal({"--profiling.enable_profiling", "--profiling.profile_freq=4"}), "");
  EXPECT_EQ(refusal({"--profiling.profile_freq=2"}), "");
  EXPECT_THAT(refusal({"--profiling.enable_profiling", "--profiling.profile_freq=3"}),
              HasSubstr("profiling.profile_freq = 3: must be at least profiling.profiler_warmup + "
                        "profiling.profiler_active = 3 + 1"));
}

TEST(JobRules, RangesOfTheLoopsNumbers) {
  for (const char* flag : {"--training.seq_len=0",
                           "--training.seq_len=-5",
                           "--training.local_batch_size=0",
                           "--training.global_batch_size=0",
                           "--training.global_batch_size=-2",
                           "--training.steps=0",
                           "--training.loss_chunk_size=-1",
                           "--training.max_norm=0",
                           "--training.max_norm=nan",
                           "--training.seed=-1",
                           "--training.dtype=float16",
                           "--training.mixed_precision_param=float16",
                           "--training.mixed_precision_reduce=bfloat16",
                           "--optimizer.lr=-1",
                           "--optimizer.lr=inf",
                           "--optimizer.beta1=1",
                           "--optimizer.eps=-1e-8",
                           "--optimizer.name=SGD",
                           "--lr_scheduler.decay_ratio=1.5",
                           "--lr_scheduler.warmup_steps=-1",
                           "--lr_scheduler.min_lr_factor=2",
                           "--checkpoint.interval=0",
                           "--checkpoint.load_step=-2",
                           "--validation.steps=0",
                           "--validation.freq=0",
                           "--metrics.log_freq=0",
                           "--activation_checkpoint.memory_budget=2",
                           "--checkpoint.exclude_from_loading=everything",
                           "--parallelism.data_parallel_shard_degree=0"})
    EXPECT_THAT(refusal({flag}), HasSubstr(std::string(flag) + ": expected ")) << flag;
  EXPECT_EQ(refusal({"--training.max_norm=inf", "--training.global_batch_size=-1",
                     "--validation.steps=-1", "--lr_scheduler.decay_ratio=0"}),
            "");
}

TEST(JobRules, CheckpointsNeedEachOther) {
  EXPECT_THAT(refusal({"--checkpoint.initial_load_path=x"}), HasSubstr("needs checkpoint.enable"));
  EXPECT_THAT(refusal({"--checkpoint.create_seed_checkpoint"}),
              HasSubstr("needs checkpoint.enable"));
  EXPECT_THAT(refusal({"--checkpoint.enable", "--checkpoint.keep_latest_k=1"}),
              HasSubstr("keep at least 2"));
  EXPECT_EQ(refusal({"--checkpoint.enable", "--checkpoint.initial_load_path=x",
                     "--checkpoint.keep_latest_k=0"}),
            "");
}

TEST(JobRules, AMixtureReplacesTheDataSet) {
  const std::string mixture = "--training.mixture=[{dataset=\"fortunes\"}]";
  EXPECT_EQ(refusal({mixture}), "");
  EXPECT_THAT(refusal({mixture, "--training.dataset=text"}), HasSubstr("would be ignored"));
  EXPECT_THAT(refusal({mixture, "--training.dataset_path=x"}), HasSubstr("would be ignored"));
}

TEST(JobRules, MaskExpressionsMustParse) {
  EXPECT_EQ(refusal({"--model.mask=causal & document"}), "");
  EXPECT_THAT(refusal({"--model.mask=causal & dokument"}),
              HasSubstr("--model.mask: model.mask = \"causal & dokument\": "));
}

TEST(JobRules, TheOlderNameOfTheTokenizersFolderStillCounts) {
  ConfigReport report;
  const JobConfig config = load_job_config({"--model.tokenizer_path=x"}, &report);
  EXPECT_EQ(config.model.hf_assets_path, "x");
  EXPECT_EQ(report.source_of("model.hf_assets_path").to_string(), "--model.tokenizer_path");
  EXPECT_THAT(report.warnings, testing::Contains(HasSubstr("deprecated")));
  EXPECT_THAT(refusal({"--model.tokenizer_path=x", "--model.hf_assets_path=y"}),
              HasSubstr("older name of model.hf_assets_path"));
}

TEST(JobRules, AScheduleLongerThanTheRunIsCutWithAWarning) {
  EXPECT_THAT(warnings({"--training.steps=100"}),
              ElementsAre(HasSubstr("warming up over all 100 steps")));
  EXPECT_THAT(warnings({"--training.steps=1000", "--lr_scheduler.decay_ratio=0.9"}),
              ElementsAre(HasSubstr("asks for 900 steps of decay after 200 of warmup, but "
                                    "training.steps = 1000: decaying over 800")));
  EXPECT_THAT(warnings({"--lr_scheduler.decay_ratio=0.9"}), IsEmpty());
}

TEST(JobRules, CompilingIsAcceptedWithAWord) {
  EXPECT_THAT(warnings({"--compile.enable"}), ElementsAre(HasSubstr("nothing needs compiling")));
  EXPECT_THAT(warnings({"--parallelism.enable_compiled_autograd"}),
              ElementsAre(HasSubstr("nothing needs compiling")));
}

TEST(ImageKeys, AreTakenWithImagesOnly) {
  const std::vector<std::string> images = {"--model.name=vlm", "--training.dataset=image_text",
                                           "--training.dataset_path=x"};
  const auto with = [](std::vector<std::string> flags, const std::vector<std::string>& more) {
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  };
  EXPECT_EQ(refusal(with(images, {"--data.patch_size=14", "--data.packing_buffer_size=8"})), "");
  EXPECT_EQ(refusal(with(images, {"--training.dataset=cc12m"})), "");
  EXPECT_THAT(
      refusal({"--data.patch_size=14"}),
      HasSubstr("data.patch_size = 14: would be ignored, for no data set of the run has images"));
  EXPECT_EQ(refusal({"--data.patch_size=16"}), "");
  EXPECT_THAT(refusal(with(images, {"--model.name=llama3"})),
              HasSubstr("training.dataset = \"image_text\": has images, which model.name = "
                        "\"llama3\" does not take"));
  EXPECT_THAT(refusal(with(images, {"--data.max_images_per_batch=7"})),
              HasSubstr("data.max_images_per_batch = 7: leaves no image for some of the 8 rows"));
  EXPECT_EQ(
      refusal(with(images, {"--data.max_images_per_batch=2", "--training.local_batch_size=2"})),
      "");
  EXPECT_THAT(refusal({"--validation.enable", "--validation.dataset=image_text"}),
              HasSubstr("validation.dataset = \"image_text\": has images"));
  EXPECT_THAT(refusal({R"(--training.mixture=[{dataset = "obelics", path = "x"}])"}),
              HasSubstr("training.mixture = \"obelics\": has images"));
}

}  // namespace
}  // namespace coeus
