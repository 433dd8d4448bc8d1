// Ranks as threads of one process, for tests.
#pragma once

#include <exception>
#include <functional>
#include <latch>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <vector>

#include "coeus/comm/parallel_groups.h"
#include "coeus/comm/peer_lost_error.h"

namespace coeus {

/// Runs f(groups) in a thread for each rank of `degrees` and waits for all. Rethrows the first
/// rank's exception, of those that are not about another rank's end where there are such. `log`:
/// whom each rank tells what it exchanges, where anyone.
inline void run_ranks(const ParallelDegrees& degrees,
                      const std::function<void(const ParallelGroups&)>& f,
                      const std::function<CollectiveLog*(int64_t rank)>& log = {}) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<std::exception_ptr> errors(degrees.world());
  // A rank that is done at once would hang up on others that are still joining its groups.
  std::latch joined(degrees.world());
  std::vector<std::thread> ranks;
  for (int64_t rank = 0; rank < degrees.world(); ++rank)
    ranks.emplace_back([&, rank] {
      bool has_joined = false;
      try {
        const Rendezvous rendezvous = {store, "127.0.0.1", std::chrono::seconds(60),
                                       log ? log(rank) : nullptr};
        const ParallelGroups groups = make_parallel_groups(rendezvous, Mesh(degrees, rank));
        has_joined = true;
        joined.arrive_and_wait();
        f(groups);
      } catch (...) {
        errors[rank] = std::current_exception();
        if (!has_joined) joined.count_down();
      }
    });
  for (std::thread& rank : ranks) rank.join();
  std::exception_ptr first, lost;
  for (const std::exception_ptr& error : errors) {
    if (!error) continue;
    try {
      std::rethrow_exception(error);
    } catch (const PeerLostError&) {
      if (!lost) lost = error;
    } catch (...) {
      if (!first) first = error;
    }
  }
  if (first) std::rethrow_exception(first);
  if (lost) std::rethrow_exception(lost);
}

}  // namespace coeus
