#include "coeus/train/stop_signal.h"

#include <atomic>
#include <csignal>

namespace coeus {

namespace {

std::atomic<int> received{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler writes it");

void remember(int signal) {
  received = signal;
  // The default action is back for a second one.
  std::signal(signal, SIG_DFL);
}

/// Takes the signal over, unless the process was started to ignore it (nohup, background jobs).
SignalHandler take_over(int signal) {
  const SignalHandler before = std::signal(signal, remember);
  if (before == SIG_IGN) std::signal(signal, SIG_IGN);
  return before;
}

}  // namespace

StopSignal::StopSignal() {
  received = 0;
  terminate_before_ = take_over(SIGTERM);
  interrupt_before_ = take_over(SIGINT);
}

StopSignal::~StopSignal() {
  std::signal(SIGTERM, terminate_before_);
  std::signal(SIGINT, interrupt_before_);
}

bool StopSignal::requested() const { return received != 0; }

std::string StopSignal::name() const {
  if (received == SIGTERM) return "SIGTERM";
  return received == SIGINT ? "SIGINT" : "";
}

}  // namespace coeus
