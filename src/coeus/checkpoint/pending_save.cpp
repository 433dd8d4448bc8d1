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
  done_ = std::async(std::launch::async, std::move(write));
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
