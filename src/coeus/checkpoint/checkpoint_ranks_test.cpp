#include "coeus/checkpoint/checkpoint_ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coeus/checkpoint/thread_ranks.h"

namespace coeus {
namespace {

using testing::ElementsAre;

TEST(CheckpointRanks, ASingleOneHearsItself) {
  EXPECT_THAT(single_rank().gather("a"), ElementsAre("a"));
  EXPECT_EQ(text_of_first(single_rank(), "a"), "a");
}

TEST(CheckpointRanks, ASingleOneThrowsItsOwnError) {
  EXPECT_THROW(together<ConfigError>(single_rank(), [] { throw DataError("bad"); }), DataError);
}

TEST(CheckpointRanks, AllThrowWhatAnyThrewOnceAllAreThrough) {
  std::vector<std::string> errors(3);
  run_thread_ranks(3, [&](CheckpointRanks& ranks) {
    EXPECT_EQ(text_of_first(ranks, std::to_string(ranks.rank())), "0");
    together<ConfigError>(ranks, [] {});
    try {
      together<ConfigError>(ranks, [&] {
        if (ranks.rank() > 0) throw std::runtime_error(fmt::format("bad {}", ranks.rank()));
      });
    } catch (const ConfigError& error) {
      errors[static_cast<size_t>(ranks.rank())] = error.what();
    }
  });
  for (const std::string& error : errors) EXPECT_EQ(error, "rank 1: bad 1\nrank 2: bad 2");
}

TEST(CheckpointRanks, WhatAllSayIsSaidOnceAndTooManyAreCounted) {
  EXPECT_EQ(joined_errors({"", ""}), "");
  EXPECT_EQ(joined_errors({"bad", "bad"}), "bad");
  std::vector<std::string> many(20, "bad");
  many[3] = "";
  EXPECT_TRUE(joined_errors(many).ends_with("rank 8: bad\nand 11 more ranks"));
}

}  // namespace
}  // namespace coeus
