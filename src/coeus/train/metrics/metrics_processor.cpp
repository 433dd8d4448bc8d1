#include "coeus/train/metrics/metrics_processor.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <chrono>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/train/metrics/run_folder.h"

namespace coeus {

namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

/// From one time to a later one, for rates: never 0.
double seconds_between(double start, double end) { return std::max(end - start, 1e-9); }

double percent_of(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

std::filesystem::path tensorboard_folder(const MetricsConfig& config, const MetricsRun& run,
                                         double unix_seconds) {
  std::tm time = fmt::localtime(static_cast<std::time_t>(unix_seconds));
  auto folder = run.dump_folder / config.save_tb_folder / fmt::format("{:%Y%m%d-%H%M}", time);
  return config.save_for_all_ranks ? folder / fmt::format("rank_{}", run.rank) : folder;
}

void check(const MetricsConfig& config) {
  COEUS_CHECK_CONFIG(config.log_freq >= 1, "[metrics.log_freq] must be at least 1, got {}",
                     config.log_freq);
  COEUS_CHECK_CONFIG(!config.enable_wandb,
                     "[metrics.enable_wandb] is not supported yet; use metrics.jsonl or "
                     "metrics.enable_tensorboard");
}

}  // namespace

Clock Clock::system() {
  auto seconds_of = [](auto time) {
    return std::chrono::duration<double>(time.time_since_epoch()).count();
  };
  return {.monotonic_seconds = [=] { return seconds_of(std::chrono::steady_clock::now()); },
          .unix_seconds = [=] { return seconds_of(std::chrono::system_clock::now()); }};
}

MetricsProcessor::MetricsProcessor(const MetricsConfig& config, const MetricsRun& run,
                                   std::unique_ptr<MemoryMonitor> memory, Clock clock)
    : config_(config),
      run_(run),
      memory_(memory ? std::move(memory) : std::make_unique<ProcessMemoryMonitor>()),
      clock_(std::move(clock)),
      last_logged_step_(run.start_step) {
  check(config_);
  if (run_.is_logging_rank) {
    make_run_folder(run_.dump_folder);
    file_.emplace(run_.dump_folder / "metrics.jsonl", /*append=*/run_.start_step > 0);
    bar_.emplace(run_.start_step, run_.total_steps, clock_.monotonic_seconds);
  }
  if (config_.enable_tensorboard && (run_.is_logging_rank || config_.save_for_all_ranks)) {
    const double now = clock_.unix_seconds();
    tensorboard_.emplace(tensorboard_folder(config_, run_, now), now);
    log_info("TensorBoard logging enabled. Logs will be saved at {}",
             tensorboard_->path().parent_path().string());
  }
  memory_->reset_peak();
  interval_.started = clock_.monotonic_seconds();
}

void MetricsProcessor::add_batch(int64_t n_tokens, double data_wait_seconds) {
  Interval& interval = validation_ ? *validation_ : interval_;
  interval.n_tokens += n_tokens;
  interval.n_batches += 1;
  interval.data_wait_seconds += data_wait_seconds;
  if (!validation_) n_tokens_ += n_tokens;
}

MemoryPeak MetricsProcessor::memory_peak() {
  MemoryPeak peak = memory_->peak();
  if (peak.n_alloc_retries > 0)
    log_warning("{} memory allocation retries: the device is nearly full", peak.n_alloc_retries);
  if (peak.n_ooms > 0) log_warning("the device ran out of memory {} times", peak.n_ooms);
  return peak;
}

LogLine MetricsProcessor::line_of(int64_t step, double loss, const MemoryPeak& memory,
                                  double tps) const {
  return {.step = step,
          .loss = loss,
          .memory_gib = memory.reserved_bytes / kGiB,
          .memory_percent = percent_of(memory.reserved_bytes, memory.capacity_bytes),
          .tps = tps / run_.n_ranks};
}

void MetricsProcessor::log(const StepMetrics& metrics) {
  const double now = clock_.monotonic_seconds();
  const double done_at = metrics.done_at.value_or(now);
  const double seconds = seconds_between(interval_.started, done_at);
  const double tokens_per_second = static_cast<double>(interval_.n_tokens) / seconds;
  const MemoryPeak memory = memory_peak();
  LogLine line = line_of(metrics.step, metrics.loss, memory, tokens_per_second);
  line.grad_norm = metrics.grad_norm;
  line.tflops = run_.flops_per_token * line.tps / 1e12;
  if (run_.peak_flops > 0) line.mfu = percent_of(run_.flops_per_token * line.tps, run_.peak_flops);
  const auto n_steps = static_cast<double>(std::max<int64_t>(metrics.step - last_logged_step_, 1));
  const auto n_batches = static_cast<double>(std::max<int64_t>(interval_.n_batches, 1));
  const double wall_time = clock_.unix_seconds() - (now - done_at);

  if (run_.is_logging_rank) log_info("{}", training_line(line, !config_.disable_color_printing));
  if (file_) {
    JsonObject json;
    json.add("step", metrics.step);
    json.add("loss", metrics.loss);
    json.add("grad_norm", metrics.grad_norm);
    json.add("lr", metrics.lr);
    json.add("tokens_per_second", tokens_per_second);
    if (line.mfu)
      json.add("mfu", *line.mfu);
    else
      json.add_null("mfu");
    json.add("memory_gib", line.memory_gib);
    json.add("memory_active_gib", memory.active_bytes / kGiB);
    json.add("n_tokens_seen", metrics.n_tokens_seen);
    json.add("max_loss", metrics.max_loss);
    json.add("tflops", line.tflops);
    json.add("step_seconds", seconds / n_steps);
    json.add("data_wait_seconds", interval_.data_wait_seconds);
    json.add("data_wait_fraction", interval_.data_wait_seconds / seconds);
    json.add("wall_time", wall_time);
    for (const auto& [name, value] : metrics.extra) json.add(name, value);
    file_->write(json);
  }
  if (tensorboard_) {
    Scalars scalars = {
        {"loss_metrics/global_avg_loss", metrics.loss},
        {"loss_metrics/global_max_loss", metrics.max_loss},
        {"grad_norm", metrics.grad_norm},
        {"throughput(tps)", line.tps},
        {"tflops", line.tflops},
        {"time_metrics/end_to_end(s)", seconds / n_steps},
        {"time_metrics/data_loading(s)", interval_.data_wait_seconds / n_batches},
        {"time_metrics/data_loading(%)", percent_of(interval_.data_wait_seconds, seconds)},
        {"memory/max_active(GiB)", memory.active_bytes / kGiB},
        {"memory/max_active(%)", percent_of(memory.active_bytes, memory.capacity_bytes)},
        {"memory/max_reserved(GiB)", line.memory_gib},
        {"memory/max_reserved(%)", line.memory_percent},
        {"memory/num_alloc_retries", static_cast<double>(memory.n_alloc_retries)},
        {"memory/num_ooms", static_cast<double>(memory.n_ooms)},
        {"n_tokens_seen", static_cast<double>(metrics.n_tokens_seen)},
        {"lr", metrics.lr},
    };
    if (line.mfu) scalars.emplace_back("mfu(%)", *line.mfu);
    scalars.insert(scalars.end(), metrics.extra.begin(), metrics.extra.end());
    tensorboard_->write(scalars, metrics.step, wall_time);
  }
  last_logged_step_ = metrics.step;
  memory_->reset_peak();
  interval_ = {.started = done_at};
}

void MetricsProcessor::progress(int64_t step, std::optional<double> loss) {
  if (bar_) bar_->update(step, n_tokens_, loss);
}

void MetricsProcessor::begin_validation() {
  COEUS_CHECK(!validation_, "[MetricsProcessor] begin_validation called twice");
  validation_.emplace(Interval{.started = clock_.monotonic_seconds()});
}

void MetricsProcessor::log_validation(int64_t step, double loss) {
  COEUS_CHECK(validation_, "[MetricsProcessor] log_validation at step {} without begin_validation",
              step);
  const double seconds = seconds_between(validation_->started, clock_.monotonic_seconds());
  const double tokens_per_second = static_cast<double>(validation_->n_tokens) / seconds;
  const MemoryPeak memory = memory_peak();
  const LogLine line = line_of(step, loss, memory, tokens_per_second);
  const double wall_time = clock_.unix_seconds();

  if (run_.is_logging_rank) log_info("{}", validation_line(line, !config_.disable_color_printing));
  if (file_) {
    JsonObject json;
    json.add("step", step);
    json.add("validation_loss", loss);
    json.add("tokens_per_second", tokens_per_second);
    json.add("memory_gib", line.memory_gib);
    json.add("validation_seconds", seconds);
    json.add("wall_time", wall_time);
    file_->write(json);
  }
  if (tensorboard_) {
    tensorboard_->write({{"validation_metrics/loss", loss},
                         {"validation_metrics/throughput(tps)", line.tps},
                         {"validation_metrics/memory/max_active(GiB)", memory.active_bytes / kGiB},
                         {"validation_metrics/memory/max_active(%)",
                          percent_of(memory.active_bytes, memory.capacity_bytes)},
                         {"validation_metrics/memory/max_reserved(GiB)", line.memory_gib},
                         {"validation_metrics/memory/max_reserved(%)", line.memory_percent}},
                        step, wall_time);
  }
  // Training's clock goes on from where it stood.
  interval_.started += clock_.monotonic_seconds() - validation_->started;
  validation_.reset();
  memory_->reset_peak();
}

}  // namespace coeus
