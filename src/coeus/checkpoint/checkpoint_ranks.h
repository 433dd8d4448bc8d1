// What checkpoints need of the processes that save and load one together.
#pragma once

#include <string>
#include <vector>

#include "coeus/base/error.h"

namespace coeus {

/// The ranks of a run, which all make the same calls in the same order. Only texts go between them:
/// names, places and checksums, never tensors.
///
/// With an asynchronous save the calls come from its thread, while the ranks train and talk to each
/// other in theirs, so an implementation needs a communicator of its own. They never come from two
/// threads at once.
class CheckpointRanks {
 public:
  virtual ~CheckpointRanks() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Every rank's text, by rank, on every rank. Waits for the slowest, which may be writing or
  /// reading its whole share of a checkpoint. Throws, on every survivor, when a rank is gone.
  virtual std::vector<std::string> gather(const std::string& text) = 0;
};

/// A run of one process.
CheckpointRanks& single_rank();

/// Rank 0's text on all ranks.
std::string text_of_first(CheckpointRanks& ranks, const std::string& text);

/// Runs `work`, which talks to no other rank, and returns once all ranks have. If it threw on any,
/// then on all: a single process what it threw, several a `Failure` that tells each rank's error.
/// So no rank waits for one that gave up.
template <class Failure, class Work>
void together(CheckpointRanks& ranks, Work work);

/// The errors of the ranks, "" for one without, as one text; "" if there are none. What all ranks
/// say stands there once.
std::string joined_errors(const std::vector<std::string>& errors);

template <class Failure, class Work>
void together(CheckpointRanks& ranks, Work work) {
  if (ranks.size() == 1) {
    work();
    return;
  }
  std::string own;
  try {
    work();
  } catch (const std::exception& error) {
    own = *error.what() ? error.what() : "an error without a text";
  }
  const std::string all = joined_errors(ranks.gather(own));
  if (!all.empty()) throw Failure(all);
}

}  // namespace coeus
