#include "coeus/comm/parallel_groups.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <utility>

namespace coeus {
namespace {

/// Where two ranks meet that send and receive: as with NCCL's first message between them, neither
/// goes on before the other has come.
class MeetingPlace {
 public:
  void meet(int from, int to, bool sends) {
    std::unique_lock lock(mutex_);
    auto& [senders, receivers] = came_[{from, to}];
    int& own = sends ? senders : receivers;
    const int& other = sends ? receivers : senders;
    const int number = ++own;
    changed_.notify_all();
    if (!changed_.wait_for(lock, std::chrono::seconds(20), [&] { return other >= number; }))
      throw std::runtime_error("nobody came");
  }
  /// From and to whom messages went.
  std::vector<std::pair<int, int>> pairs() const {
    std::vector<std::pair<int, int>> pairs;
    for (const auto& [pair, counts] : came_) pairs.push_back(pair);
    return pairs;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<int, int>, std::pair<int, int>> came_;
};

class Done : public c10d::Work {
 public:
  bool wait(std::chrono::milliseconds /*timeout*/) override { return true; }
};

class MeetingBackend : public c10d::Backend {
 public:
  MeetingBackend(int rank, int size, MeetingPlace& place) : Backend(rank, size), place_(place) {}
  c10::intrusive_ptr<c10d::Work> send(std::vector<at::Tensor>& /*x*/, int to,
                                      int /*tag*/) override {
    place_.meet(getRank(), to, /*sends=*/true);
    return c10::make_intrusive<Done>();
  }
  c10::intrusive_ptr<c10d::Work> recv(std::vector<at::Tensor>& /*x*/, int from,
                                      int /*tag*/) override {
    place_.meet(from, getRank(), /*sends=*/false);
    return c10::make_intrusive<Done>();
  }
  void shutdown() override {}

 private:
  MeetingPlace& place_;
};

/// The pairs that have met, of `size` ranks that are threads.
std::vector<std::pair<int, int>> pairs_joined(int size, Messages messages) {
  MeetingPlace place;
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<int64_t> ranks(size);
  for (int rank = 0; rank < size; ++rank) ranks[rank] = rank;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      Rendezvous rendezvous = {store, "127.0.0.1", std::chrono::seconds(60)};
      rendezvous.device_backend = [&](const auto& /*store*/, int own, int all, bool /*joins_all*/) {
        return c10::make_intrusive<MeetingBackend>(own, all, place);
      };
      const auto group = make_process_group(rendezvous, "pp", ranks, rank, messages);
      group->barrier("all have joined");
    });
  for (std::thread& thread : threads) thread.join();
  return place.pairs();
}

using Pairs = std::vector<std::pair<int, int>>;

TEST(ParallelGroups, NeighborsOnGpusAreJoinedBothWaysAndAroundTheEnd) {
  EXPECT_EQ(pairs_joined(2, Messages::kToNeighbors), (Pairs{{0, 1}, {1, 0}}));
  EXPECT_EQ(pairs_joined(3, Messages::kToNeighbors),
            (Pairs{{0, 1}, {0, 2}, {1, 0}, {1, 2}, {2, 0}, {2, 1}}));
  EXPECT_EQ(
      pairs_joined(5, Messages::kToNeighbors),
      (Pairs{{0, 1}, {0, 4}, {1, 0}, {1, 2}, {2, 1}, {2, 3}, {3, 2}, {3, 4}, {4, 0}, {4, 3}}));
}

TEST(ParallelGroups, ThoseWithCollectivesAloneAreNot) {
  EXPECT_TRUE(pairs_joined(3, Messages::kNone).empty());
}

}  // namespace
}  // namespace coeus
