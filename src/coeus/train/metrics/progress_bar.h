// The progress bar below the log lines of a terminal.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

namespace coeus {

/// What the bar shows.
struct Progress {
  int64_t step = 0;
  int64_t total_steps = 0;
  std::optional<double> loss;
  /// Of the whole job, over the latest steps.
  std::optional<double> tokens_per_second;
  std::optional<double> seconds_left;
};

/// One line of at most `columns` characters: step and total, a bar, loss, tokens/s, time left. The
/// bar takes what the text leaves; on a narrow terminal first the bar goes, then the line's end.
std::string progress_line(const Progress& progress, int columns);

/// 0:07, 12:34 or 1:02:03.
std::string duration_text(double seconds);

/// Keeps progress_line() as the log's status line. Draws at most ten times a second, and nothing
/// where standard error is no terminal. Gone when destroyed.
class ProgressBar {
 public:
  /// `now` gives monotonic seconds.
  ProgressBar(int64_t start_step, int64_t total_steps, std::function<double()> now);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// `step` is done; `n_tokens` are those of all steps so far. Without a loss the last one stays.
  void update(int64_t step, int64_t n_tokens, std::optional<double> loss);

  /// What update() would draw now: rates come from the latest 100 steps.
  const Progress& progress() const { return progress_; }

 private:
  struct Mark {
    double time;
    int64_t step;
    int64_t n_tokens;
  };
  std::function<double()> now_;
  std::deque<Mark> marks_;
  Progress progress_;
  double last_drawn_;
};

}  // namespace coeus
