#include "coeus/comm/rendezvous.h"

#include <fcntl.h>
#include <gmock/gmock.h>

#include "coeus/base/error.h"
#include "coeus/comm/peer_lost_error.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

using Values = std::map<std::string, std::string>;

/// Checks as rank `own` of ranks with these values.
void check_as(size_t own, const std::vector<Values>& all) {
  // What each rank sends is what it passes to gather.
  std::vector<std::string> texts;
  for (const Values& values : all)
    check_same_everywhere(values, [&](const std::string& text) {
      texts.push_back(text);
      return std::vector<std::string>{text};
    });
  check_same_everywhere(all[own], [&](const std::string& text) {
    EXPECT_EQ(text, texts[own]);
    return texts;
  });
}

TEST(SameEverywhere, AcceptsTheSame) {
  EXPECT_NO_THROW(check_as(1, {{{"seed", "1"}}, {{"seed", "1"}}, {{"seed", "1"}}}));
}

TEST(SameEverywhere, ShowsWhatDiffersOnEveryRank) {
  const std::vector<Values> all = {
      {{"a.same", "0"}, {"seed", "1"}, {"steps", "10"}},
      {{"a.same", "0"}, {"seed", "2"}, {"steps", "10"}},
      {{"a.same", "0"}, {"seed", "1"}, {"steps", "12"}},
      {{"a.same", "0"}, {"seed", "2"}, {"steps", "10"}, {"more", "\xff"}}};
  for (size_t rank = 0; rank < all.size(); ++rank)
    EXPECT_THAT(
        [&] { check_as(rank, all); },
        ThrowsMessage<ConfigError>(AllOf(
            HasSubstr("\n  seed: 1 on ranks 0 and 2; 2 on ranks 1 and 3"),
            HasSubstr("\n  steps: 10 on ranks 0, 1 and 3; 12 on rank 2"),
            HasSubstr("\n  more: (not there) on ranks 0, 1 and 2; "), Not(HasSubstr("a.same")))));
}

TEST(SameEverywhere, CutsALongList) {
  Values many;
  for (int i = 0; i < 100; ++i) many["key" + std::to_string(i)] = "1";
  EXPECT_THAT(
      [&] {
        check_as(0, {{}, many});
      },
      ThrowsMessage<ConfigError>(HasSubstr("and 60 more")));
}

RankEnvironment two_ranks(int port) {
  return {.world_size = 2, .local_world_size = 2, .master_port = port};
}

TEST(StoreSocket, ListensOnThePortOfTheJobOnce) {
  const int port = listen_on(Reach::kThisMachine, 0).port;
  const ListeningSocket first = store_socket(two_ranks(port));
  EXPECT_EQ(first.port, port);
  EXPECT_NO_THROW(wait_for_store(two_ranks(port), std::chrono::milliseconds(0)));
  EXPECT_THAT([&] { store_socket(two_ranks(port)); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr(std::to_string(port)), HasSubstr("taken"),
                                               HasSubstr("MASTER_PORT"))));
}

TEST(StoreSocket, TakesTheLaunchers) {
  ListeningSocket launchers = listen_on(Reach::kNetwork, 0);
  RankEnvironment place = two_ranks(launchers.port);
  place.store_socket = launchers.socket.number();
  EXPECT_EQ(store_socket(place).socket.number(), launchers.socket.release());
}

TEST(StoreSocket, RefusesWhatIsNoSocketOfTheLauncher) {
  RankEnvironment place = two_ranks(1);
  const FileDescriptor file(::open("/dev/null", O_RDONLY));
  for (const int number : {file.number(), 1000000}) {
    place.store_socket = number;
    EXPECT_THAT([&] { store_socket(place); },
                ThrowsMessage<ConfigError>(HasSubstr("COEUS_STORE_SOCKET")));
  }
}

TEST(StoreSocket, OfRankZeroThatDoesNotComeIsNamed) {
  const int port = listen_on(Reach::kThisMachine, 0).port;  // nobody's from here on
  RankEnvironment place = two_ranks(port);
  place.rank = 1;
  EXPECT_THAT([&] { wait_for_store(place, std::chrono::milliseconds(10)); },
              ThrowsMessage<PeerLostError>(AllOf(HasSubstr("rank 0 has not come within 0.01 s"),
                                                 HasSubstr("refused"), HasSubstr("MASTER_ADDR"))));
}

TEST(ListeningSocket, ReachesThisMachineOrTheNetwork) {
  const ListeningSocket loopback = listen_on(Reach::kThisMachine, 0),
                        network = listen_on(Reach::kNetwork, 0);
  EXPECT_NO_THROW(wait_for_store(two_ranks(loopback.port), std::chrono::milliseconds(0)));
  RankEnvironment other_address = two_ranks(loopback.port);
  other_address.master_addr = "127.0.0.2";
  EXPECT_THROW(wait_for_store(other_address, std::chrono::milliseconds(0)), PeerLostError);
  other_address.master_port = network.port;
  EXPECT_NO_THROW(wait_for_store(other_address, std::chrono::milliseconds(0)));
}

}  // namespace
}  // namespace coeus
