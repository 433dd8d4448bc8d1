#include "coeus/train/metrics/progress_bar.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "coeus/base/log.h"
#include "coeus/train/metrics/log_line.h"

namespace coeus {

namespace {

constexpr size_t kMarksKept = 101;
constexpr double kSecondsBetweenDrawings = 0.1;
constexpr int kNarrowestBar = 10;
constexpr int kWidestBar = 40;

std::string bar_of(double part, int width) {
  int filled = static_cast<int>(std::lround(std::clamp(part, 0.0, 1.0) * width));
  std::string bar(filled, '=');
  if (filled < width) bar += '>';
  bar.resize(width, ' ');
  return "[" + bar + "] ";
}

}  // namespace

std::string duration_text(double seconds) {
  int64_t whole = std::llround(std::clamp(seconds, 0.0, 1e15));
  int64_t minutes = whole / 60;
  if (minutes < 60) return fmt::format("{}:{:02}", minutes, whole % 60);
  return fmt::format("{}:{:02}:{:02}", minutes / 60, minutes % 60, whole % 60);
}

std::string progress_line(const Progress& progress, int columns) {
  const int64_t total = std::max<int64_t>(progress.total_steps, 1);
  const double part = static_cast<double>(progress.step) / static_cast<double>(total);
  const std::string head = fmt::format("step {}/{} ", progress.step, progress.total_steps);
  std::string tail = fmt::format("{:3.0f}%", std::floor(100 * part));
  if (progress.loss) tail += fmt::format("  loss {:.4f}", *progress.loss);
  if (progress.tokens_per_second)
    tail += fmt::format("  {} tok/s", with_thousands(*progress.tokens_per_second));
  if (progress.seconds_left)
    tail += fmt::format("  left {}", duration_text(*progress.seconds_left));

  const int room = columns - static_cast<int>(head.size() + tail.size()) - 3;  // "[", "] "
  std::string line = head;
  if (room >= kNarrowestBar) line += bar_of(part, std::min(room, kWidestBar));
  return (line + tail).substr(0, std::max(columns, 0));
}

ProgressBar::ProgressBar(int64_t start_step, int64_t total_steps, std::function<double()> now)
    : now_(std::move(now)),
      marks_{{now_(), start_step, 0}},
      progress_{.step = start_step, .total_steps = total_steps},
      last_drawn_(-std::numeric_limits<double>::infinity()) {}

ProgressBar::~ProgressBar() { set_status_line(""); }

void ProgressBar::update(int64_t step, int64_t n_tokens, std::optional<double> loss) {
  const double time = now_();
  marks_.push_back({time, step, n_tokens});
  if (marks_.size() > kMarksKept) marks_.pop_front();
  // The first step also warms up: leave it out of the rates as soon as there is another.
  if (marks_.size() == 3 && marks_[1].step == marks_[0].step + 1 && marks_[0].n_tokens == 0)
    marks_.pop_front();
  const Mark& oldest = marks_.front();
  const double seconds = time - oldest.time;
  progress_.step = step;
  if (loss) progress_.loss = loss;
  if (seconds > 0 && step > oldest.step) {
    const double seconds_per_step = seconds / static_cast<double>(step - oldest.step);
    progress_.tokens_per_second = static_cast<double>(n_tokens - oldest.n_tokens) / seconds;
    progress_.seconds_left =
        seconds_per_step * static_cast<double>(std::max<int64_t>(progress_.total_steps - step, 0));
  }
  const int columns = log_terminal_columns();
  if (columns == 0) return;
  if (time - last_drawn_ < kSecondsBetweenDrawings && step < progress_.total_steps) return;
  last_drawn_ = time;
  set_status_line(progress_line(progress_, columns - 1));
}

}  // namespace coeus
