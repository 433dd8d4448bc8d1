#include "coeus/train/metrics/metrics_processor.h"

#include <gmock/gmock.h>
#include <spdlog/sinks/ostream_sink.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

constexpr double kGiB = 1 << 30;

/// Holds what the test says.
class FakeMemory final : public MemoryMonitor {
 public:
  explicit FakeMemory(int& n_resets) : n_resets_(n_resets) {}
  MemoryPeak peak() override {
    return {.active_bytes = kGiB, .reserved_bytes = 2 * kGiB, .capacity_bytes = 8 * kGiB};
  }
  void reset_peak() override { ++n_resets_; }

 private:
  int& n_resets_;
};

/// Metrics of a run whose time and log the test holds.
class MetricsProcessorTest : public testing::Test {
 protected:
  MetricsProcessorTest() : logger_before_(spdlog::default_logger()) {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(logged_);
    sink->set_pattern("%v");
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));
    config_.disable_color_printing = true;
    run_ = {.dump_folder = folder_ / "outputs", .total_steps = 20, .flops_per_token = 2e9};
  }
  ~MetricsProcessorTest() override { spdlog::set_default_logger(logger_before_); }

  MetricsProcessor make() {
    return MetricsProcessor(
        config_, run_, std::make_unique<FakeMemory>(n_resets_),
        {.monotonic_seconds = [this] { return time_; }, .unix_seconds = [] { return 1.5e9; }});
  }

  std::vector<json> lines() {
    std::vector<json> lines;
    std::ifstream file(run_.dump_folder / "metrics.jsonl");
    for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
    return lines;
  }

  TemporaryFolder folder_;
  MetricsConfig config_;
  MetricsRun run_;
  double time_ = 100;
  int n_resets_ = 0;
  std::ostringstream logged_;

 private:
  std::shared_ptr<spdlog::logger> logger_before_;
};

TEST_F(MetricsProcessorTest, LogsTheFirstStepAndEveryLogFreqth) {
  config_.log_freq = 5;
  MetricsProcessor metrics = make();
  std::vector<int64_t> logged;
  for (int64_t step = 1; step <= 12; ++step)
    if (metrics.should_log(step)) logged.push_back(step);
  EXPECT_THAT(logged, ElementsAre(1, 5, 10));
}

TEST_F(MetricsProcessorTest, WritesEverythingAboutAStep) {
  run_.peak_flops = 1e14;
  run_.n_ranks = 2;
  MetricsProcessor metrics = make();
  metrics.add_batch(30000, 0.25);
  metrics.add_batch(30000, 0.5);
  time_ += 3;
  metrics.log({.step = 1,
               .loss = double{7.66150951f},
               .max_loss = 8,
               .grad_norm = 2.5,
               .lr = 4e-4,
               .n_tokens_seen = 60000,
               .extra = {{"experts/entropy", 0.75}}});
  ASSERT_EQ(lines().size(), 1u);
  json line = lines()[0];
  EXPECT_EQ(line["step"], 1);
  EXPECT_EQ(line["loss"].get<double>(), double{7.66150951f});
  EXPECT_EQ(line["max_loss"], 8.0);
  EXPECT_EQ(line["grad_norm"], 2.5);
  EXPECT_EQ(line["lr"], 4e-4);
  EXPECT_EQ(line["tokens_per_second"], 20000.0) << "of the whole job";
  EXPECT_EQ(line["tflops"], 20.0) << "of one device: 1e4 tokens/s of 2e9 FLOPs";
  EXPECT_EQ(line["mfu"], 20.0) << "percent";
  EXPECT_EQ(line["memory_gib"], 2.0);
  EXPECT_EQ(line["n_tokens_seen"], 60000);
  EXPECT_EQ(line["step_seconds"], 3.0);
  EXPECT_EQ(line["data_wait_seconds"], 0.75);
  EXPECT_EQ(line["data_wait_fraction"], 0.25);
  EXPECT_EQ(line["wall_time"], 1.5e9);
  EXPECT_EQ(line["experts/entropy"], 0.75);
  EXPECT_THAT(logged_.str(),
              HasSubstr("step:  1  loss:  7.6615  grad_norm:  2.5000  memory:  2.00GiB(25.00%)  "
                        "tps: 10,000  tflops: 20.00  mfu: 20.00%\n"));
}

TEST_F(MetricsProcessorTest, TimesStepsByWhenTheDeviceWasDoneWithThem) {
  MetricsProcessor metrics = make();
  for (int64_t step = 1; step <= 2; ++step) {
    metrics.add_batch(600, 0);
    time_ += 5;
    // Read some seconds late.
    metrics.log({.step = step, .done_at = 100.0 + 2 * static_cast<double>(step)});
  }
  for (const json& line : lines()) {
    EXPECT_EQ(line["step_seconds"], 2.0);
    EXPECT_EQ(line["tokens_per_second"], 300.0);
  }
  EXPECT_EQ(lines()[1]["wall_time"], 1.5e9 - 6);
}

TEST_F(MetricsProcessorTest, HasNoMfuOnACpu) {
  MetricsProcessor metrics = make();
  metrics.log({.step = 1});
  EXPECT_TRUE(lines()[0].at("mfu").is_null());
  EXPECT_THAT(logged_.str(), HasSubstr("mfu: N/A\n"));
}

TEST_F(MetricsProcessorTest, WritesNullForWhatIsNotFinite) {
  MetricsProcessor metrics = make();
  metrics.log({.step = 1, .loss = std::nan(""), .grad_norm = INFINITY});
  EXPECT_TRUE(lines()[0].at("loss").is_null());
  EXPECT_TRUE(lines()[0].at("grad_norm").is_null());
}

TEST_F(MetricsProcessorTest, StartsAnewAfterALoggedStep) {
  MetricsProcessor metrics = make();
  EXPECT_EQ(n_resets_, 1);
  metrics.add_batch(1000, 0.5);
  time_ += 10;
  metrics.log({.step = 1});
  EXPECT_EQ(n_resets_, 2);
  for (int step = 2; step <= 10; ++step) metrics.add_batch(100, 0);
  time_ += 18;
  metrics.log({.step = 10});
  EXPECT_EQ(lines()[1]["tokens_per_second"], 50.0);
  EXPECT_EQ(lines()[1]["step_seconds"], 2.0);
  EXPECT_EQ(lines()[1]["data_wait_seconds"], 0.0);
}

TEST_F(MetricsProcessorTest, KeepsValidationOutOfTrainingsRates) {
  MetricsProcessor metrics = make();
  metrics.add_batch(100, 0.5);
  time_ += 1;
  metrics.begin_validation();
  metrics.add_batch(5000, 0.25);
  time_ += 10;
  metrics.log_validation(1, 5.5);
  metrics.add_batch(100, 0.5);
  time_ += 1;
  metrics.log({.step = 2, .loss = 6});
  ASSERT_EQ(lines().size(), 2u);
  EXPECT_EQ(lines()[0]["step"], 1);
  EXPECT_EQ(lines()[0]["validation_loss"], 5.5);
  EXPECT_EQ(lines()[0]["tokens_per_second"], 500.0);
  EXPECT_FALSE(lines()[0].contains("loss"));
  EXPECT_EQ(lines()[1]["tokens_per_second"], 100.0);
  EXPECT_EQ(lines()[1]["data_wait_fraction"], 0.5);
  EXPECT_THAT(logged_.str(),
              HasSubstr("validate step:  1  loss:  5.5000  memory:  2.00GiB(25.00%)  tps: 500\n"));
}

TEST_F(MetricsProcessorTest, RefusesAValidationThatDidNotBegin) {
  MetricsProcessor metrics = make();
  EXPECT_THAT([&] { metrics.log_validation(1, 5); },
              ThrowsMessage<Error>(HasSubstr("without begin_validation")));
}

TEST_F(MetricsProcessorTest, AppendsWhenItResumes) {
  make().log({.step = 10, .loss = 5});
  run_.start_step = 10;
  MetricsProcessor metrics = make();
  time_ += 4;
  metrics.log({.step = 12, .loss = 4});
  ASSERT_EQ(lines().size(), 2u);
  EXPECT_EQ(lines()[1]["step_seconds"], 2.0) << "steps count from the one resumed";
}

TEST_F(MetricsProcessorTest, WritesAndPrintsNothingOnOtherRanks) {
  run_.is_logging_rank = false;
  run_.rank = 1;
  config_.enable_tensorboard = true;
  MetricsProcessor metrics = make();
  metrics.log({.step = 1});
  metrics.progress(1);
  EXPECT_FALSE(std::filesystem::exists(run_.dump_folder));
  EXPECT_EQ(logged_.str(), "");
}

TEST_F(MetricsProcessorTest, WritesTorchTitansTagsToTensorBoard) {
  config_.enable_tensorboard = true;
  config_.save_for_all_ranks = true;
  run_.is_logging_rank = false;
  run_.rank = 3;
  run_.peak_flops = 1e14;
  MetricsProcessor metrics = make();
  metrics.log({.step = 1, .extra = {{"experts/entropy", 0.75}}});
  metrics.begin_validation();
  metrics.log_validation(1, 5);
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(run_.dump_folder / "tb"))
    if (entry.is_regular_file()) files.push_back(entry.path());
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].parent_path().filename(), "rank_3");
  EXPECT_THAT(files[0].parent_path().parent_path().filename().string(),
              testing::MatchesRegex("201707[0-9]{2}-[0-9]{4}"));
  const std::string bytes = file_text(files[0]);
  for (const char* tag : {"loss_metrics/global_avg_loss",
                          "loss_metrics/global_max_loss",
                          "grad_norm",
                          "throughput(tps)",
                          "tflops",
                          "mfu(%)",
                          "time_metrics/end_to_end(s)",
                          "time_metrics/data_loading(s)",
                          "time_metrics/data_loading(%)",
                          "memory/max_active(GiB)",
                          "memory/max_active(%)",
                          "memory/max_reserved(GiB)",
                          "memory/max_reserved(%)",
                          "memory/num_alloc_retries",
                          "memory/num_ooms",
                          "n_tokens_seen",
                          "lr",
                          "experts/entropy",
                          "validation_metrics/loss",
                          "validation_metrics/throughput(tps)",
                          "validation_metrics/memory/max_active(GiB)",
                          "validation_metrics/memory/max_active(%)",
                          "validation_metrics/memory/max_reserved(GiB)",
                          "validation_metrics/memory/max_reserved(%)"}) {
    std::string tag_field = fmt::format("\n{}{}\x15", static_cast<char>(std::string(tag).size()),
                                        tag);  // tag, then the key of simple_value
    EXPECT_THAT(bytes, HasSubstr(tag_field)) << tag;
  }
}

TEST_F(MetricsProcessorTest, ColorsItsLinesUnlessToldNotTo) {
  make().log({.step = 1});
  EXPECT_THAT(logged_.str(), Not(HasSubstr("\033[")));
  config_.disable_color_printing = false;
  make().log({.step = 1});
  EXPECT_THAT(logged_.str(), HasSubstr("\033[31mstep:"));
}

TEST_F(MetricsProcessorTest, RefusesWhatItCannotDo) {
  config_.log_freq = 0;
  EXPECT_THAT([&] { make(); }, ThrowsMessage<ConfigError>(HasSubstr("[metrics.log_freq] must be")));
  config_ = {.enable_wandb = true};
  EXPECT_THAT([&] { make(); }, ThrowsMessage<ConfigError>(HasSubstr("[metrics.enable_wandb]")));
  config_ = {};
  run_.dump_folder = folder_.write("outputs", "");
  EXPECT_THAT([&] { make(); }, ThrowsMessage<ConfigError>(HasSubstr("[job.dump_folder]")));
}

}  // namespace
}  // namespace coeus
