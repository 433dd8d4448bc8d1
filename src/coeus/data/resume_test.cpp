// A loader that is put back to any saved state goes on bit for bit as if nothing had happened.
#include <gmock/gmock.h>

#include <array>

#include "coeus/base/error.h"
#include "coeus/data/loader.h"
#include "coeus/data/test_folder.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr int kBatches = 24;

std::string text(int i) {
  return fmt::format("document {} {}", i, std::string(static_cast<size_t>(i * 37 % 41), 'x'));
}

struct Case {
  std::string name;
  DatasetOptions dataset;
  LoaderOptions loader{.seq_len = 16, .local_batch_size = 2, .vocab_size = kTestVocabSize};
};

/// A folder with data of every kind, and the ways to read it.
class Resume : public testing::Test {
 protected:
  Resume() {
    std::vector<std::string> texts;
    for (int i = 0; i < 17; ++i) texts.push_back(text(i));
    texts[3] = "";
    auto middle = texts.begin() + 8;
    auto first = json_lines({texts.begin(), middle});
    auto second = json_lines({middle, texts.end()});
    folder_.write("plain/a.json", first);
    folder_.write("plain/b.jsonl", second);
    folder_.write("packed/a.json.gz", first);
    folder_.write("packed/b.json.zst", second);
    std::string fortunes;
    for (const auto& each : texts) fortunes += each + "\n%\n";
    folder_.write("fortunes/all", fortunes);
    std::string parts;
    while (parts.size() < 2500000) parts += text(static_cast<int>(parts.size() % 97)) + "\n";
    folder_.write("long/parts.txt", parts);
    for (int i = 0; i < 5; ++i) folder_.write("texts/" + std::to_string(i) + ".txt", text(i * 3));
  }

  std::string path(const std::string& name) const { return folder_.path() / name; }

  std::vector<Case> cases() const {
    std::vector<Case> all;
    for (bool shuffle : {false, true}) {
      std::string how = shuffle ? " shuffled" : " in order";
      for (std::string folder : {"plain", "packed"}) {
        all.push_back(
            {folder + how, {.name = "json", .path = path(folder), .shuffle = shuffle, .seed = 5}});
      }
      all.push_back(
          {"fortunes" + how, {.name = "fortunes", .path = path("fortunes"), .shuffle = shuffle}});
      all.push_back(
          {"text" + how, {.name = "text", .path = path("texts"), .shuffle = shuffle, .seed = 1}});
      all.push_back({"mixture" + how,
                     {.mixture = {{"json", path("plain"), 2},
                                  {"text", path("texts"), 1},
                                  {"synthetic", "", 0.5}},
                      .shuffle = shuffle,
                      .seed = 9,
                      .vocab_size = kTestVocabSize}});
    }
    all.push_back({"synthetic", {.name = "synthetic", .vocab_size = kTestVocabSize}});
    all.push_back({"long rows", {.name = "json", .path = path("plain")}});
    all.back().loader.seq_len = 400;
    all.push_back({"documents in parts",
                   {.mixture = {{"text", path("long"), 1}, {"json", path("plain"), 9}}}});
    all.back().loader.seq_len = 70000;
    all.push_back({"document positions", {.name = "json", .path = path("plain")}});
    all.back().loader.positions = Positions::kDocument;
    all.push_back({"finite", {.name = "json", .path = path("plain"), .shuffle = true}});
    all.back().loader.infinite = false;
    return all;
  }

  static std::unique_ptr<Loader> open(const Case& c) {
    return std::make_unique<Loader>(make_dataset(c.dataset), byte_encoder(), c.loader);
  }

  TestFolder folder_;
};

void expect_same(const std::optional<Batch>& a, const std::optional<Batch>& b) {
  ASSERT_EQ(a.has_value(), b.has_value());
  if (!a) return;
  EXPECT_EQ(a->tokens, b->tokens);
  EXPECT_EQ(a->labels, b->labels);
  EXPECT_EQ(a->positions, b->positions);
  EXPECT_EQ(a->valid_labels, b->valid_labels);
  EXPECT_EQ(a->documents, b->documents);
  EXPECT_EQ(a->first_sample, b->first_sample);
  EXPECT_EQ(a->state_after, b->state_after);
  for (size_t row = 0; row < a->layouts.size(); ++row) {
    EXPECT_EQ(*a->layouts[row].query(), *b->layouts[row].query());
  }
}

TEST_F(Resume, GivesTheSameBatchesFromEveryPoint) {
  for (const auto& c : cases()) {
    SCOPED_TRACE(c.name);
    std::vector<std::optional<Batch>> batches;
    std::vector<std::string> states;
    auto whole = open(c);
    for (int i = 0; i < kBatches; ++i) {
      states.push_back(whole->state().dump());
      batches.push_back(whole->next());
    }
    for (int from = 0; from < kBatches; ++from) {
      SCOPED_TRACE(from);
      auto resumed = open(c);
      // What was read ahead, or delivered, before the state is loaded must not show.
      if (from % 2 == 1) resumed->next();
      resumed->load_state(nlohmann::json::parse(states[from]));
      EXPECT_EQ(resumed->state().dump(), states[from]);
      for (int i = from; i < std::min(from + 4, kBatches); ++i) {
        expect_same(resumed->next(), batches[i]);
      }
      if (HasFailure()) return;
    }
  }
}

TEST_F(Resume, GoesOnWithAnotherNumberOfRanks) {
  Case c{"", {.name = "json", .path = path("plain"), .shuffle = true}};
  auto one = open(c);
  for (int i = 0; i < 5; ++i) one->next();
  auto state = one->state();
  c.loader.local_batch_size = 1;
  c.loader.dp_world = 2;
  std::vector<std::unique_ptr<Loader>> ranks;
  for (int64_t rank : {0, 1}) {
    c.loader.dp_rank = rank;
    ranks.push_back(open(c));
    ranks.back()->load_state(state);
  }
  for (int i = 0; i < 5; ++i) {
    auto batch = one->next();
    std::vector<int32_t> tokens;
    for (auto& rank : ranks) {
      auto part = rank->next()->tokens;
      tokens.insert(tokens.end(), part.begin(), part.end());
    }
    EXPECT_EQ(tokens, batch->tokens);
  }
}

// The samples that the ranks' micro-batches took, in the order of their numbers.
std::vector<int32_t> tokens_of(const std::vector<std::unique_ptr<Loader>>& ranks, int batches) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < batches; ++i) {
    for (const auto& rank : ranks) {
      const auto part = rank->next()->tokens;
      tokens.insert(tokens.end(), part.begin(), part.end());
    }
  }
  return tokens;
}

TEST_F(Resume, GoesOnAtTheNextUnseenSampleWithAnotherGlobalBatchSize) {
  for (bool shuffle : {false, true}) {
    Case c{"", {.name = "json", .path = path("plain"), .shuffle = shuffle, .seed = 3}};
    std::vector<std::unique_ptr<Loader>> one;
    one.push_back(open(c));
    tokens_of(one, 5);
    const auto state = one[0]->state();
    EXPECT_EQ(state["samples"], 10);
    const auto expected = tokens_of(one, 15);
    // Rows of a micro-batch, ranks, and micro-batches that take the same thirty samples.
    for (const auto& [rows, world, batches] :
         std::vector<std::array<int64_t, 3>>{{1, 1, 30}, {3, 1, 10}, {5, 2, 3}, {1, 3, 10}}) {
      c.loader.local_batch_size = rows;
      c.loader.dp_world = world;
      std::vector<std::unique_ptr<Loader>> ranks;
      for (int64_t rank = 0; rank < world; ++rank) {
        c.loader.dp_rank = rank;
        ranks.push_back(open(c));
        ranks.back()->load_state(state);
      }
      EXPECT_EQ(tokens_of(ranks, static_cast<int>(batches)), expected) << rows << " x " << world;
      for (const auto& rank : ranks) EXPECT_EQ(rank->state(), one[0]->state());
    }
  }
}

TEST_F(Resume, GoesOnAtTheNextTokenWithAnotherSeqLen) {
  Case c{"", {.name = "json", .path = path("plain")}};
  auto whole = open(c);
  whole->next();
  auto state = whole->state();
  std::vector<int32_t> expected = whole->next()->tokens;
  c.loader.seq_len = 5;
  auto shorter = open(c);
  shorter->load_state(state);
  auto tokens = shorter->next()->tokens;
  EXPECT_TRUE(std::equal(tokens.begin(), tokens.begin() + 5, expected.begin()));
  // Six tokens a piece: the second row starts at the seventh.
  EXPECT_TRUE(std::equal(tokens.begin() + 5, tokens.end(), expected.begin() + 6));
}

TEST_F(Resume, ReadsNothingOfThePastOfAPlainFile) {
  // The past is made unreadable: only a seek gets over it.
  auto good = json_lines({text(1), text(2), text(3), text(4), text(5), text(6)});
  auto file = folder_.write("one.json", good);
  Case c{"", {.name = "json", .path = file}};
  auto whole = open(c);
  whole->next();
  whole->next();
  auto state = whole->state();
  auto expected = whole->next();
  folder_.write("one.json", std::string(40, '!') + good.substr(40));
  auto resumed = open(c);
  resumed->load_state(state);
  expect_same(resumed->next(), expected);
}

TEST_F(Resume, RefusesAStateOfOtherDataAndGoesOnAsBefore) {
  Case c{"", {.name = "json", .path = path("plain"), .shuffle = true, .seed = 1}};
  auto loader = open(c);
  loader->next();
  auto state = loader->state();
  auto expected = loader->next();

  auto refusal = [&](const DatasetOptions& dataset) {
    auto other = open({"", dataset});
    return message_of<ConfigError>([&] { other->load_state(state); });
  };
  auto other_seed = c.dataset;
  other_seed.seed = 2;
  EXPECT_THAT(refusal(other_seed), HasSubstr("dataset/seed was 1, is 2"));
  auto in_order = c.dataset;
  in_order.shuffle = false;
  EXPECT_THAT(refusal(in_order), HasSubstr("dataset/shuffle was true, is false"));
  EXPECT_THAT(refusal({.name = "fortunes", .path = path("fortunes")}),
              AllOf(HasSubstr("dataset/kind was \"json\", is \"fortunes\""),
                    HasSubstr("dataset/files was 2, is 1")));

  auto again = open(c);
  again->next();
  EXPECT_THROW(again->load_state({{"version", 1}}), CheckpointError);
  EXPECT_THROW(again->load_state("nonsense"), CheckpointError);
  auto broken = state;
  broken["stream"]["position"] = {0};
  EXPECT_THROW(again->load_state(broken), CheckpointError);
  broken = state;
  broken["stream"]["skip"] = -1;
  EXPECT_THROW(again->load_state(broken), CheckpointError);
  broken["stream"]["position"] = "somewhere";
  EXPECT_THROW(again->load_state(broken), CheckpointError);
  expect_same(again->next(), expected);
}

}  // namespace
}  // namespace coeus
