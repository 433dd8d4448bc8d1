#include "coeus/checkpoint/pending_save.h"

#include "coeus/base/log.h"
#include "coeus/checkpoint/checkpoint_saver.h"

namespace coeus {

PendingSave::~PendingSave() {
  try {
    wait();
  } catch (const std::exception& error) {
    log_error("{}", error.what());
  }
}

void PendingSave::start(std::function<void()> write) {
  COEUS_ASSERT(!done_.valid());
  done_ = std::async(std::launch::async, [write = std::move(write)]() mutable {
    // What it holds, a copy of the state, goes when it is done and not when somebody waits for it.
    const auto own = std::move(write);
    own();
  });
}

void PendingSave::wait() {
  if (done_.valid()) done_.get();
}

void PendingSave::wait_and_log() {
  try {
    wait();
  } catch (const CheckpointSaveError& error) {
    log_error("{}; training goes on", error.what());
  }
}

}  // namespace coeus
