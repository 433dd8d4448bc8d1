// Ranks that are threads of one process. For tests.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "coeus/checkpoint/checkpoint_ranks.h"

namespace coeus {

/// Where the texts of a number of ranks meet.
class Meeting {
 public:
  explicit Meeting(int ranks) : texts_(static_cast<size_t>(ranks)) {}

  std::vector<std::string> gather(int rank, const std::string& text) {
    std::unique_lock lock(mutex_);
    // The next round begins when all have left the last one.
    changed_.wait(lock, [&] { return leaving_ == 0 || is_broken_; });
    if (is_broken_) throw Error("a rank is gone", ExitCode::kPeerLost);
    texts_[static_cast<size_t>(rank)] = text;
    if (++come_ == size()) {
      leaving_ = size();
      come_ = 0;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return leaving_ > 0 || is_broken_; });
    }
    if (leaving_ == 0) throw Error("a rank is gone", ExitCode::kPeerLost);
    std::vector<std::string> all = texts_;
    if (--leaving_ == 0) changed_.notify_all();
    return all;
  }

  void break_up() {
    const std::lock_guard lock(mutex_);
    is_broken_ = true;
    changed_.notify_all();
  }

  int size() const { return static_cast<int>(texts_.size()); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> texts_;
  int come_ = 0;
  int leaving_ = 0;
  bool is_broken_ = false;
};

class ThreadRanks : public CheckpointRanks {
 public:
  ThreadRanks(std::shared_ptr<Meeting> meeting, int rank)
      : meeting_(std::move(meeting)), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return meeting_->size(); }
  std::vector<std::string> gather(const std::string& text) override {
    return meeting_->gather(rank_, text);
  }

 private:
  std::shared_ptr<Meeting> meeting_;
  int rank_;
};

/// Runs `f` on every rank and throws what the first rank threw, in the order of the ranks, that did
/// not only lose another one.
inline void run_thread_ranks(int ranks, const std::function<void(CheckpointRanks&)>& f) {
  const auto meeting = std::make_shared<Meeting>(ranks);
  std::vector<std::exception_ptr> errors(static_cast<size_t>(ranks));
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < ranks; ++rank) {
      threads.emplace_back([&, rank] {
        try {
          ThreadRanks own(meeting, rank);
          f(own);
        } catch (...) {
          errors[static_cast<size_t>(rank)] = std::current_exception();
          meeting->break_up();
        }
      });
    }
  }
  std::exception_ptr loss;
  for (const std::exception_ptr& error : errors) {
    if (!error) continue;
    try {
      std::rethrow_exception(error);
    } catch (const Error& failure) {
      if (failure.exit_code() != ExitCode::kPeerLost) throw;
      loss = error;
    }
  }
  if (loss) std::rethrow_exception(loss);
}

}  // namespace coeus
