#include "coeus/train/stop_signal.h"

#include <csignal>

namespace coeus {

namespace {

volatile std::sig_atomic_t received = 0;

void remember(int signal) {
  received = signal;
  // The default action is back for a second one.
  std::signal(signal, SIG_DFL);
}

}  // namespace

StopSignal::StopSignal() {
  received = 0;
  std::signal(SIGTERM, remember);
  std::signal(SIGINT, remember);
}

StopSignal::~StopSignal() {
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
}

bool StopSignal::requested() const { return received != 0; }

std::string StopSignal::name() const {
  if (received == SIGTERM) return "SIGTERM";
  return received == SIGINT ? "SIGINT" : "";
}

}  // namespace coeus
