// A run small enough to be saved and loaded thousands of times. For tests.
#pragma once

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <sstream>
#include <string>

#include "coeus/checkpoint/checkpointer.h"
#include "coeus/checkpoint/training_state.h"

namespace coeus {

/// The state of the run after `step`; all tensors and states differ from step to step.
inline TrainingState small_state(int64_t step) {
  auto numbers = [&](std::vector<int64_t> shape, double scale, at::ScalarType type) {
    int64_t n = 1;
    for (int64_t size : shape) n *= size;
    return (torch::arange(n, at::kDouble) * scale + static_cast<double>(step)).to(type).view(shape);
  };
  TrainingState state;
  state.model = {{"tok_embeddings.weight", numbers({4, 3}, 0.5, at::kFloat)},
                 {"layers.0.wq.weight", numbers({2, 3}, 1, at::kBFloat16)},
                 {"norm.weight", numbers({3}, -0.25, at::kFloat)}};
  state.optimizer = {{"exp_avg.tok_embeddings.weight", numbers({4, 3}, 0.125, at::kFloat)},
                     {"step", numbers({}, 1, at::kLong)}};
  state.states = {{"lr_scheduler", {{"last_epoch", step}}},
                  {"dataloader", {{"position", 7 * step}, {"seed", ~uint64_t{0}}}},
                  {"train_state", {{"step", step}, {"n_tokens_seen", 1024 * step}}}};
  return state;
}

/// The run as it is before anything is loaded.
inline TrainingState blank_state() { return small_state(-1); }

inline bool same_tensors(const NamedTensors& a, const NamedTensors& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].first != b[i].first || !at::equal(a[i].second, b[i].second)) return false;
  }
  return true;
}

inline bool same_state(const TrainingState& a, const TrainingState& b) {
  return same_tensors(a.model, b.model) && same_tensors(a.optimizer, b.optimizer) &&
         a.states == b.states;
}

/// Saves all of the state at every save.
inline CheckpointConfig saving_config(int64_t keep = 0) {
  CheckpointConfig config;
  config.enable = true;
  config.keep_latest_k = keep;
  config.last_save_model_only = false;
  return config;
}

/// The step that a fresh process resumes from, -1 for none; its state must be that step's to the
/// bit.
inline int64_t resume(FileSystem& files, const std::filesystem::path& folder = "/run") {
  TrainingState state = blank_state();
  auto loaded = Checkpointer(saving_config(), folder, files).load(state);
  if (!loaded) return -1;
  EXPECT_TRUE(same_state(state, small_state(loaded->step))) << "step " << loaded->step;
  return loaded->step;
}

/// Takes the log's lines while it lives.
class CapturedLog {
 public:
  CapturedLog() : before_(spdlog::default_logger()) {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(text_);
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("captured", sink));
  }
  ~CapturedLog() { spdlog::set_default_logger(before_); }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
  std::shared_ptr<spdlog::logger> before_;
};

}  // namespace coeus
