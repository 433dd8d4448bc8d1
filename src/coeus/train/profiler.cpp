#include "coeus/train/profiler.h"

#include <ATen/Context.h>
#include <torch/csrc/autograd/profiler_kineto.h>
#include <torch/types.h>

#include <chrono>
#include <cstdlib>
#include <set>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/base/trace_log.h"
#include "coeus/train/trace_file.h"
#include "coeus/train/watched_layers.h"

namespace coeus {

namespace {

namespace kineto = torch::profiler::impl;

kineto::ProfilerConfig profiler_config() {
  return kineto::ProfilerConfig(kineto::ProfilerState::KINETO, /*report_input_shapes=*/true);
}

std::set<kineto::ActivityType> activities() {
  std::set<kineto::ActivityType> all = {kineto::ActivityType::CPU};
  if (at::globalContext().hasCUDA()) all.insert(kineto::ActivityType::CUDA);
  return all;
}

}  // namespace

Profiler::Profiler(const ProfilingConfig& config, const std::filesystem::path& dump_folder,
                   int64_t last_step, int64_t rank)
    : config_(config),
      folder_(dump_folder / config.save_traces_folder),
      rank_(rank),
      step_(last_step) {
  if (!config.enable_profiling) return;
  COEUS_CHECK_CONFIG(config.profiler_warmup + config.profiler_active <= config.profile_freq,
                     "profiling.profile_freq = {}: must be at least profiling.profiler_warmup + "
                     "profiling.profiler_active = {} + {}",
                     config.profile_freq, config.profiler_warmup, config.profiler_active);
  // Kineto, the profiler's library, prints and puts into traces as an error that there is no GPU.
  if (!at::globalContext().hasCUDA()) ::setenv("KINETO_LOG_LEVEL", "99", /*overwrite=*/0);
  log_info("Profiling active. Traces will be saved at {}", folder_.string());
  begin(step_ + 1);
}

Profiler::~Profiler() {
  if (action_ == Action::kNone) return;
  TraceLog::stop();
  try {
    // What has been prepared can only be stopped once it was started.
    if (action_ == Action::kWarmUp)
      torch::autograd::profiler::enableProfiler(profiler_config(), activities());
    torch::autograd::profiler::disableProfiler();
  } catch (const std::exception& error) {
    log_warning("the profiler did not end: {}", error.what());
  }
}

Profiler::Action Profiler::action_of(int64_t step) const {
  const int64_t left = config_.profile_freq - 1 - (step - 1) % config_.profile_freq;
  if (left < config_.profiler_active) return Action::kRecord;
  return left < config_.profiler_active + config_.profiler_warmup ? Action::kWarmUp : Action::kNone;
}

void Profiler::watch(const torch::nn::Module& model) {
  if (config_.enable_profiling) watch_layers(model);
}

void Profiler::begin(int64_t step) {
  const Action action = action_of(step);
  if (action != Action::kNone && action_ == Action::kNone)
    torch::autograd::profiler::prepareProfiler(profiler_config(), activities());
  if (action == Action::kRecord && action_ != Action::kRecord) {
    torch::autograd::profiler::enableProfiler(profiler_config(), activities());
    TraceLog::start();
  }
  action_ = action;
  step_begin_ns_ = TraceLog::now_ns();
}

void Profiler::step() {
  if (!config_.enable_profiling) return;
  ++step_;
  TraceLog::add({.row = "steps",
                 .name = fmt::format("step {}", step_),
                 .begin_ns = step_begin_ns_,
                 .end_ns = TraceLog::now_ns()});
  if (step_ % config_.profile_freq == 0) save();
  begin(step_ + 1);
}

void Profiler::finish() {
  if (action_ == Action::kRecord) save();
}

void Profiler::save() {
  if (action_ != Action::kRecord) return;
  action_ = Action::kNone;
  const std::vector<TraceRange> ranges = TraceLog::stop();
  const auto result = torch::autograd::profiler::disableProfiler();
  const auto begin = std::chrono::steady_clock::now();
  const std::filesystem::path file =
      folder_ / fmt::format("iteration_{}", step_) / fmt::format("rank{}_trace.json", rank_);
  log_info("Dumping profiler traces at step {}", step_);
  write_trace(file, rank_, ranges, [&](const std::string& path) { result->save(path); });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  log_info("Finished dumping profiler traces in {:.2f} seconds", took.count());
}

}  // namespace coeus
