#include "coeus/data/loader.h"

#include <gmock/gmock.h>
#include <spdlog/sinks/ostream_sink.h>

#include <atomic>
#include <latch>
#include <map>
#include <sstream>
#include <thread>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/data/byte_reader.h"
#include "coeus/data/test_folder.h"

namespace coeus {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr LoaderOptions kSmall{.seq_len = 5, .local_batch_size = 2, .vocab_size = kTestVocabSize};

std::vector<std::string> some_texts(int count) {
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) {
    texts.push_back(std::string(static_cast<size_t>(i * 7 % 13), static_cast<char>('a' + i % 26)));
  }
  return texts;
}

/// The row of a batch, its last label included.
std::vector<int32_t> piece(const Batch& batch, int64_t row) {
  auto begin = batch.tokens.begin() + row * batch.seq_len;
  std::vector<int32_t> tokens(begin, begin + batch.seq_len);
  tokens.push_back(batch.labels[static_cast<size_t>((row + 1) * batch.seq_len - 1)]);
  return tokens;
}

class Loading : public testing::Test {
 protected:
  std::unique_ptr<Dataset> data(const std::vector<std::string>& texts) {
    return make_dataset({.name = "json", .path = folder_.write("data.json", json_lines(texts))});
  }
  TestFolder folder_;
};

TEST_F(Loading, GivesBatchesOfPackedRows) {
  Loader loader(data({"abc", "d", "efghijk"}), byte_encoder(), kSmall);
  // B a b c E B | d E B e f g | h i j k E B | …
  auto batch = loader.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->batch_size, 2);
  EXPECT_EQ(batch->seq_len, 5);
  EXPECT_THAT(batch->tokens, ElementsAre(kTestBos, 'a', 'b', 'c', kTestEos,  //
                                         'd', kTestEos, kTestBos, 'e', 'f'));
  EXPECT_THAT(batch->labels, ElementsAre('a', 'b', 'c', kTestEos, kTestBos,  //
                                         kTestEos, kTestBos, 'e', 'f', 'g'));
  EXPECT_THAT(batch->positions, ElementsAre(0, 1, 2, 3, 4, 0, 1, 2, 3, 4));
  ASSERT_EQ(batch->layouts.size(), 2u);
  EXPECT_THAT(batch->layouts[1].query()->document, ElementsAre(0, 0, 1, 1, 1));
  EXPECT_EQ(batch->valid_labels, 10);
  EXPECT_EQ(batch->documents, 3);
  EXPECT_EQ(batch->first_sample, 0);
  EXPECT_TRUE(batch->masks.empty());
  batch = loader.next();
  EXPECT_EQ(batch->first_sample, 2);
  EXPECT_THAT(piece(*batch, 0), ElementsAre('h', 'i', 'j', 'k', kTestEos, kTestBos));
}

TEST_F(Loading, CountsPositionsWithinDocumentsWhenAsked) {
  auto options = kSmall;
  options.positions = Positions::kDocument;
  Loader loader(data({"abc", "d", "efghijk"}), byte_encoder(), options);
  EXPECT_THAT(loader.next()->positions, ElementsAre(0, 1, 2, 3, 4, 0, 1, 0, 1, 2));
}

TEST_F(Loading, GivesTheSameGlobalBatchesToAnyNumberOfRanks) {
  auto texts = some_texts(40);
  constexpr int64_t kGlobalBatch = 36;
  constexpr int kSteps = 3;
  using Piece = std::vector<int32_t>;
  // [samples] in order of their number, with the state after each step.
  auto samples_of = [&](int64_t world, int64_t local, std::vector<nlohmann::json>& states) {
    std::map<int64_t, Piece> samples;
    states.assign(kSteps, {});
    for (int64_t rank = 0; rank < world; ++rank) {
      auto options = kSmall;
      options.local_batch_size = local;
      options.dp_rank = rank;
      options.dp_world = world;
      Loader loader(data(texts), byte_encoder(), options);
      for (int step = 0; step < kSteps; ++step) {
        for (int64_t micro = 0; micro < kGlobalBatch / (world * local); ++micro) {
          auto batch = loader.next();
          EXPECT_EQ(batch->first_sample, step * kGlobalBatch + (micro * world + rank) * local);
          for (int64_t row = 0; row < local; ++row) {
            EXPECT_TRUE(samples.emplace(batch->first_sample + row, piece(*batch, row)).second);
          }
        }
        if (rank == 0) states[step] = loader.state();
        EXPECT_EQ(loader.state(), states[step]);
      }
    }
    return samples;
  };
  std::vector<nlohmann::json> expected_states;
  auto expected = samples_of(1, 36, expected_states);
  ASSERT_EQ(expected.size(), kGlobalBatch * kSteps);
  for (int64_t world : {1, 2, 3, 4}) {
    for (int64_t local : {1, 3}) {
      std::vector<nlohmann::json> states;
      EXPECT_EQ(samples_of(world, local, states), expected) << world << " ranks of " << local;
      EXPECT_EQ(states, expected_states);
    }
  }
}

TEST_F(Loading, LowersMasksOfTheRowsInItsThread) {
  std::thread::id lowered_in;
  std::vector<std::vector<int32_t>> documents;
  Loader loader(data({"abc", "d", "efghijk"}), byte_encoder(), kSmall, [&](std::span<Batch> step) {
    if (documents.empty()) {
      lowered_in = std::this_thread::get_id();
      for (const auto& row : step[0].layouts) documents.push_back(row.key()->document);
    }
    step[0].masks = {{"main", BlockMask{}}};
  });
  auto batch = loader.next();
  EXPECT_EQ(batch->masks.count("main"), 1u);
  EXPECT_NE(lowered_in, std::this_thread::get_id());
  EXPECT_THAT(documents, ElementsAre(ElementsAre(0, 0, 0, 0, 0), ElementsAre(0, 0, 1, 1, 1)));
}

TEST_F(Loading, PrefetchesAsManyAsAskedAndNoMore) {
  std::atomic<int> made = 0;
  std::atomic<int> asked = 0;
  std::atomic<int> furthest = 0;
  auto options = kSmall;
  options.prefetch = 2;
  Loader loader(data(some_texts(40)), byte_encoder(), options, [&](std::span<Batch>) {
    furthest = std::max<int>(furthest, ++made - asked);
    made.notify_one();
  });
  for (int i = 0; i < 50; ++i) {
    // Two wait ready, and a third for room.
    for (int now = made; now < asked + 3; now = made) made.wait(now);
    ++asked;
    loader.next();
  }
  EXPECT_EQ(furthest, 3);
}

TEST_F(Loading, ComesToAnEndWhenFiniteAndFillsUpTheLastBatch) {
  auto options = kSmall;
  options.infinite = false;
  options.local_batch_size = 2;
  options.dp_world = 2;
  // 23 tokens: 3 pieces of 6 and 5 tokens too few for a fourth.
  std::vector<std::string> texts{"abcdefg", "hijkl", "mnopq"};
  for (int64_t rank : {0, 1}) {
    options.dp_rank = rank;
    Loader loader(data(texts), byte_encoder(), options);
    auto batch = loader.next();
    ASSERT_TRUE(batch);
    EXPECT_EQ(batch->valid_labels, rank == 0 ? 10 : 5);
    EXPECT_EQ(batch->layouts.size(), 2u);
    if (rank == 1) {
      EXPECT_THAT(std::span(batch->labels).last(5), Each(kIgnoredLabel));
      EXPECT_THAT(std::span(batch->labels).first(5), Each(testing::Ge(0)));
      EXPECT_THAT(std::span(batch->positions).last(5), ElementsAre(0, 1, 2, 3, 4));
    }
    EXPECT_FALSE(loader.next());
    EXPECT_FALSE(loader.next());
    loader.restart();
    EXPECT_EQ(loader.next()->tokens, batch->tokens);
    EXPECT_FALSE(loader.next());
  }
}

TEST_F(Loading, ReportsFiniteDataThatFillsNoRow) {
  auto options = kSmall;
  options.infinite = false;
  Loader loader(data({"ab"}), byte_encoder(), options);
  EXPECT_THAT(message_of<DataError>([&] { loader.next(); }), HasSubstr("fewer than 6 tokens"));
}

TEST_F(Loading, StartsOverWithANotice) {
  std::ostringstream log;
  auto& sinks = spdlog::default_logger()->sinks();
  sinks.push_back(std::make_shared<spdlog::sinks::ostream_sink_mt>(log));
  {
    Loader loader(data({"abc", "d"}), byte_encoder(), kSmall);
    std::vector<int32_t> stream;
    for (int i = 0; i < 4; ++i) {
      auto batch = loader.next();
      for (int64_t row : {0, 1}) {
        auto tokens = piece(*batch, row);
        stream.insert(stream.end(), tokens.begin(), tokens.end());
      }
    }
    std::vector<int32_t> epoch{kTestBos, 'a', 'b', 'c', kTestEos, kTestBos, 'd', kTestEos};
    ASSERT_EQ(stream.size(), 48u);
    for (size_t i = 0; i < stream.size(); ++i) EXPECT_EQ(stream[i], epoch[i % 8]) << i;
  }
  sinks.pop_back();
  EXPECT_THAT(log.str(), HasSubstr("Dataset json is being re-looped"));
}

TEST_F(Loading, DeliversGoodBatchesAndThenTheThreadsErrorAgainAndAgain) {
  auto path = folder_.write("data.json", json_lines(some_texts(9)) + "{\"text\": 1}\n");
  Loader loader(make_dataset({.name = "json", .path = path}), byte_encoder(), kSmall);
  int good = 0;
  auto first_error = message_of<DataError>([&] {
    for (;; ++good) loader.next();
  });
  EXPECT_THAT(first_error, HasSubstr(path + ":10"));
  EXPECT_EQ(good, 5);
  EXPECT_EQ(message_of<DataError>([&] { loader.next(); }), first_error);
  EXPECT_EQ(loader.state()["samples"], 10);
}

TEST_F(Loading, FinishesTheBatchesOfAStepTogether) {
  std::vector<size_t> together;
  auto options = kSmall;
  options.batches_per_step = 3;
  Loader loader(data(some_texts(40)), byte_encoder(), options, [&](std::span<Batch> step) {
    if (together.empty()) std::swap(step[0].tokens, step[2].tokens);
    together.push_back(step.size());
  });
  Loader alone(data(some_texts(40)), byte_encoder(), kSmall);
  std::vector<Batch> moved, plain;
  for (int i = 0; i < 3; ++i) {
    moved.push_back(*loader.next());
    plain.push_back(*alone.next());
  }
  EXPECT_EQ(together.front(), 3U);
  EXPECT_EQ(moved[0].tokens, plain[2].tokens);
  EXPECT_EQ(moved[1].tokens, plain[1].tokens);
  EXPECT_EQ(moved[2].tokens, plain[0].tokens);
  EXPECT_EQ(loader.state(), alone.state());
}

TEST_F(Loading, PassesOnAnErrorOfTheFunctionThatFinishesBatches) {
  Loader loader(data({"abc"}), byte_encoder(), kSmall,
                [](std::span<Batch>) { throw std::runtime_error("no mask today"); });
  EXPECT_EQ(message_of<std::runtime_error>([&] { loader.next(); }), "no mask today");
}

TEST_F(Loading, EndsAtOnceInTheMiddleOfAnEndlessRead) {
  // The row needs more tokens than there will ever be.
  struct Endless : Dataset {
    Endless() : Dataset("endless") {}
    bool next(Document& document) override {
      if (stop().stop_requested()) throw ReadStopped{};
      document = {.text = ""};
      if (!started.try_wait()) started.count_down();
      return true;
    }
    void next_epoch() override {}
    std::optional<int64_t> size() const override { return {}; }
    DatasetPosition position() const override { return {}; }
    void seek(const DatasetPosition&) override {}
    nlohmann::json identity() const override { return {{"kind", "endless"}}; }
    std::latch started{1};
  };
  auto encoder = byte_encoder();
  encoder.bos_id = encoder.eos_id = std::nullopt;
  auto dataset = std::make_unique<Endless>();
  auto& started = dataset->started;
  Loader loader(std::move(dataset), encoder, kSmall);
  started.wait();
}

TEST_F(Loading, ReportsOptionsOutOfRange) {
  auto error_of = [&](auto change) {
    auto options = kSmall;
    change(options);
    return message_of<ConfigError>([&] { Loader loader(data({"abc"}), byte_encoder(), options); });
  };
  EXPECT_THAT(error_of([](auto& o) { o.seq_len = 0; }), HasSubstr("seq_len must be at least 1"));
  EXPECT_THAT(error_of([](auto& o) { o.seq_len = int64_t{1} << 31; }), HasSubstr("below 2^31"));
  EXPECT_THAT(error_of([](auto& o) { o.local_batch_size = -3; }), HasSubstr("got -3"));
  EXPECT_THAT(error_of([](auto& o) { o.dp_world = 0; }), HasSubstr("ranks"));
  EXPECT_THAT(error_of([](auto& o) { o.dp_rank = 1; }), HasSubstr("rank 1 is not among 1"));
  EXPECT_THAT(error_of([](auto& o) { o.prefetch = 0; }), HasSubstr("prefetched"));
  EXPECT_THAT(error_of([](auto& o) { o.vocab_size = 0; }), HasSubstr("vocab_size"));
}

TEST_F(Loading, RefusesAnEndlessDataSetAFiniteRun) {
  auto options = kSmall;
  options.infinite = false;
  EXPECT_THAT(message_of<ConfigError>([&] {
                Loader loader(make_dataset({.name = "synthetic", .vocab_size = 9}), {}, options);
              }),
              HasSubstr("no end"));
}

}  // namespace
}  // namespace coeus
