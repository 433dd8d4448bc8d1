// Checkpoints of ranks that hold slices, loaded by other ranks with other slices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <numeric>

#include "coeus/base/intercepted_file_system.h"
#include "coeus/base/memory_file_system.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/checkpoint/initial_weights.h"
#include "coeus/checkpoint/sharded_run.h"
#include "coeus/checkpoint/thread_ranks.h"

namespace coeus {
namespace {

namespace fs = std::filesystem;
using testing::AnyOf;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;
using testing::UnorderedElementsAre;

at::Tensor random_tensor(std::vector<int64_t> shape, at::ScalarType type) {
  return at::randint(0, type == at::kBool ? 2 : 1000, shape, at::kLong).to(type);
}

TrainingState whole_state(RandomLayouts& random, int64_t step) {
  TrainingState state = small_state(step);
  const std::vector<at::ScalarType> types = {at::kFloat, at::kBFloat16, at::kLong, at::kBool};
  for (int i = 0; i < 6; ++i) {
    std::vector<int64_t> shape;
    for (int64_t n = random.below(4); n > 0; --n) shape.push_back(random.below(7));
    const auto type = types[static_cast<size_t>(random.below(4))];
    state.model.emplace_back(fmt::format("w{}", i), random_tensor(shape, type));
    state.optimizer.emplace_back(fmt::format("exp_avg.w{}", i), random_tensor(shape, at::kFloat));
  }
  return state;
}

struct RunLayout {
  int ranks;
  Layout model, optimizer;
};

RunLayout layout_of(RandomLayouts& random, const TrainingState& whole, int ranks) {
  return {ranks, random.layout_of(whole.model, ranks), random.layout_of(whole.optimizer, ranks)};
}

TrainingState of_rank(const TrainingState& whole, const RunLayout& layout, int rank) {
  return rank_state(whole, layout.model[static_cast<size_t>(rank)],
                    layout.optimizer[static_cast<size_t>(rank)]);
}

TrainingState blank(const TrainingState& whole) {
  TrainingState state = whole;
  for (auto* tensors : {&state.model, &state.optimizer}) {
    for (auto& [name, tensor] : *tensors) tensor = at::full_like(tensor, 1);
  }
  state.states = blank_state().states;
  return state;
}

void save_sharded(const fs::path& folder, const TrainingState& whole, const RunLayout& layout,
                  int64_t step, FileSystem& files = posix_file_system()) {
  run_thread_ranks(layout.ranks, [&](CheckpointRanks& ranks) {
    Checkpointer checkpointer(saving_config(), folder, files, ranks);
    checkpointer.save(step, of_rank(whole, layout, ranks.rank()));
  });
}

int64_t load_sharded(const fs::path& folder, const TrainingState& whole, const RunLayout& layout,
                     FileSystem& files = posix_file_system()) {
  std::vector<int64_t> steps(static_cast<size_t>(layout.ranks));
  run_thread_ranks(layout.ranks, [&](CheckpointRanks& ranks) {
    TrainingState state = of_rank(blank(whole), layout, ranks.rank());
    Checkpointer checkpointer(saving_config(), folder, files, ranks);
    const auto loaded = checkpointer.load(state);
    steps[static_cast<size_t>(ranks.rank())] = loaded ? loaded->step : -1;
    EXPECT_TRUE(same_state(state, of_rank(whole, layout, ranks.rank())));
  });
  for (const int64_t step : steps) EXPECT_EQ(step, steps[0]);
  return steps[0];
}

TEST(Resharding, AnyLayoutLoadsInAnyOther) {
  CapturedLog log;
  RandomLayouts random(7);
  torch::manual_seed(7);
  for (int i = 0; i < 40; ++i) {
    SCOPED_TRACE(i);
    TemporaryFolder folder;
    const TrainingState whole = whole_state(random, i);
    save_sharded(folder.path(), whole,
                 layout_of(random, whole, 1 + static_cast<int>(random.below(5))), 5);
    const int ranks = 1 + static_cast<int>(random.below(5));
    EXPECT_EQ(load_sharded(folder.path(), whole, layout_of(random, whole, ranks)), 5);
    TrainingState single = blank(whole);
    EXPECT_EQ(Checkpointer(saving_config(), folder.path()).load(single)->step, 5);
    EXPECT_TRUE(same_state(single, whole));
    if (HasFailure()) return;
  }
}

// testdata/version_1 was written by the program that knew only whole tensors and one checksum each.
TEST(Resharding, ACheckpointOfFormatVersion1LoadsInAnyLayout) {
  CapturedLog log;
  TemporaryFolder folder;
  fs::create_directories(folder / "checkpoint");
  fs::copy(COEUS_SOURCE_DIR "/src/coeus/checkpoint/testdata/version_1",
           folder / "checkpoint/step-9");
  TrainingState whole = small_state(9);
  whole.model.emplace_back("empty", torch::zeros({2, 0}));
  RandomLayouts random(3);
  for (int ranks : {1, 2, 3, 4}) {
    EXPECT_EQ(load_sharded(folder.path(), whole, layout_of(random, whole, ranks)), 9);
  }
}

TEST(Resharding, ASingleProcessWritesWholeTensorsUnderTheirNames) {
  CapturedLog log;
  MemoryFileSystem files;
  Checkpointer(saving_config(), "/run", files).save(5, small_state(5));
  const InitialWeights weights =
      find_initial_weights(files, "/run/checkpoint/step-5/model.safetensors");
  NamedTensors model = blank_state().model;
  load_model_weights(files, "/run/checkpoint/step-5/model.safetensors", model);
  EXPECT_TRUE(same_tensors(model, small_state(5).model));
}

TEST(Resharding, RanksStartFromWeightsOfAnyForm) {
  CapturedLog log;
  RandomLayouts random(9);
  TemporaryFolder folder;
  const TrainingState whole = small_state(4);
  save_sharded(folder / "pieces", whole, layout_of(random, whole, 3), 4);
  Checkpointer(saving_config(), folder / "whole").save(4, whole);
  for (const char* path : {"pieces/checkpoint/step-4", "whole/checkpoint/step-4",
                           "whole/checkpoint/step-4/model.safetensors"}) {
    CheckpointConfig config = saving_config();
    config.initial_load_path = folder / path;
    const Layout layout = random.layout_of(whole.model, 3);
    run_thread_ranks(3, [&](CheckpointRanks& ranks) {
      const TrainingState want = rank_state(whole, layout[static_cast<size_t>(ranks.rank())], {});
      NamedTensors model;
      // In another plain floating-point type, and beside a bias that was not saved.
      for (const auto& [name, tensor] : want.model)
        model.emplace_back(name, at::zeros_like(tensor, at::kDouble));
      model.emplace_back("layers.0.moe.expert_bias", at::ones({2}));
      HeldSlices slices = want.model_slices;
      slices["layers.0.moe.expert_bias"] = {TensorSlice::whole_of({6}).narrowed(0, 1, 2)};
      Checkpointer checkpointer(config, folder / "new", posix_file_system(), ranks);
      EXPECT_TRUE(checkpointer.load_model(model, slices)->model_only);
      for (size_t i = 0; i < want.model.size(); ++i)
        EXPECT_TRUE(at::equal(model[i].second, want.model[i].second.to(at::kDouble))) << path;
      EXPECT_TRUE(at::equal(model.back().second, at::zeros({2})));
    });
  }
}

/// Two ranks that hold the upper and the lower rows of "w", both "b", and one each a name of its
/// own.
TrainingState half_state(int rank) {
  TrainingState state;
  const at::Tensor w = torch::arange(12, at::kFloat).view({4, 3});
  const TensorSlice slice = TensorSlice::whole_of({4, 3}).narrowed(0, 2 * rank, 2);
  state.model = {{"w", w.narrow(0, 2 * rank, 2).clone()}, {"b", torch::ones({2})}};
  state.model.emplace_back(fmt::format("own{}", rank), torch::full({2}, rank, at::kFloat));
  state.model_slices = {{"w", {slice, true}}, {"b", {TensorSlice::whole_of({2}), rank == 0}}};
  state.states = small_state(1).states;
  return state;
}

void save_halves(const fs::path& folder, int64_t step) {
  run_thread_ranks(2, [&](CheckpointRanks& ranks) {
    Checkpointer(saving_config(), folder, posix_file_system(), ranks)
        .save(step, half_state(ranks.rank()));
  });
}

TEST(Resharding, EachRankHasAFileOfItsOwnWithPiecesNamedByTheirPlace) {
  CapturedLog log;
  TemporaryFolder folder;
  save_halves(folder.path(), 5);
  const fs::path step = folder / "checkpoint/step-5";
  EXPECT_THAT(
      posix_file_system().list(step),
      ElementsAre("manifest.json", "model-rank-00000.safetensors", "model-rank-00001.safetensors"));
  std::vector<std::string> names;
  for (const auto& tensor :
       find_initial_weights(posix_file_system(), step / "model-rank-00001.safetensors").model)
    names.push_back(tensor.name);
  EXPECT_THAT(names, UnorderedElementsAre("w[2:4, 0:3]", "own1"));
}

template <class ErrorType, class F>
std::vector<std::string> errors_of_ranks(int count, F f) {
  std::vector<std::string> errors(static_cast<size_t>(count));
  run_thread_ranks(count, [&](CheckpointRanks& ranks) {
    try {
      f(ranks);
    } catch (const ErrorType& error) {
      errors[static_cast<size_t>(ranks.rank())] = error.what();
    }
  });
  for (const std::string& error : errors) EXPECT_EQ(error, errors[0]);
  return errors;
}

TEST(Resharding, APieceThatNobodyOrTwoWriteIsRefusedOnAllRanks) {
  CapturedLog log;
  TemporaryFolder folder;
  const auto refusal = [&](auto change) {
    const auto errors = errors_of_ranks<Error>(2, [&](CheckpointRanks& ranks) {
      TrainingState state = half_state(ranks.rank());
      change(state, ranks.rank());
      Checkpointer(saving_config(), folder.path(), posix_file_system(), ranks).save(5, state);
    });
    EXPECT_THAT(posix_file_system().list(folder / "checkpoint"), IsEmpty());
    return errors[0];
  };
  EXPECT_THAT(refusal([](TrainingState& state, int) { state.model_slices["b"].is_writer = true; }),
              HasSubstr("'b' of shape [2] is not covered exactly once by its 2 pieces: b in "
                        "model-rank-00000.safetensors; b in model-rank-00001.safetensors"));
  EXPECT_THAT(refusal([](TrainingState& state, int rank) {
                if (rank == 1) state.model_slices["w"].is_writer = false;
              }),
              HasSubstr("'w' of shape [4, 3] is not covered exactly once by its 1 pieces: "
                        "w[0:2, 0:3] in"));
  EXPECT_THAT(refusal([](TrainingState& state, int rank) {
                if (rank == 1) state.model[1].second = torch::ones({2}, at::kBFloat16);
              }),
              HasSubstr("'b' is BF16 [2] on rank 1, F32 [2] before"));
  EXPECT_THAT(refusal([](TrainingState& state, int rank) {
                if (rank == 1) state.model[0].second = torch::ones({3, 3});
              }),
              HasSubstr("rank 1: [checkpoint] tensor 'w' has the shape [3, 3], but its slice the "
                        "size [2, 3]"));
}

TEST(Resharding, MisfitsOfAnyRankAreToldToAll) {
  CapturedLog log;
  TemporaryFolder folder;
  save_halves(folder.path(), 5);
  const auto errors = errors_of_ranks<CheckpointError>(2, [&](CheckpointRanks& ranks) {
    TrainingState state = half_state(ranks.rank());
    if (ranks.rank() == 0) state.model[2].first = "other";
    if (ranks.rank() == 1) state.model[1].second = torch::ones({2}, at::kLong);
    Checkpointer(saving_config(), folder.path(), posix_file_system(), ranks).load(state);
    FAIL() << "loaded";
  });
  for (const char* text :
       {"missing: 'other' of shape [2]", "wrong dtype: 'b' is F32", "unknown: 'own0' of shape [2]"})
    EXPECT_THAT(errors[0], HasSubstr(text));
  EXPECT_THAT(errors[0], Not(HasSubstr("own1")));
}

/// Counts what is read from safetensors files.
class CountingFileSystem : public InterceptedFileSystem {
 public:
  CountingFileSystem()
      : InterceptedFileSystem(posix_file_system(), [](const FileOperation&) { return 0; }) {}
  std::unique_ptr<ReadableFile> open(const fs::path& path) override {
    return std::make_unique<CountingFile>(InterceptedFileSystem::open(path), bytes);
  }
  std::atomic<uint64_t> bytes = 0;

 private:
  class CountingFile : public ReadableFile {
   public:
    CountingFile(std::unique_ptr<ReadableFile> inner, std::atomic<uint64_t>& bytes)
        : inner_(std::move(inner)), bytes_(bytes) {}
    uint64_t size() const override { return inner_->size(); }
    void read(uint64_t offset, std::span<std::byte> into) override {
      bytes_ += into.size();
      inner_->read(offset, into);
    }

   private:
    std::unique_ptr<ReadableFile> inner_;
    std::atomic<uint64_t>& bytes_;
  };
};

TEST(Resharding, ARankReadsWhatItHoldsAndNoMore) {
  CapturedLog log;
  TemporaryFolder folder;
  const at::Tensor w = torch::randn({60, 40});
  TrainingState state;
  state.model = {{"w", w}, {"other", torch::randn({1000})}};
  CheckpointWriter(state, {.model_only = true, .chunk_bytes = 1000})
      .write(posix_file_system(), folder.path());
  const auto checkpoint = verify_checkpoint(posix_file_system(), folder.path());
  for (const TensorSlice& slice :
       {TensorSlice::whole_of({60, 40}), TensorSlice::whole_of({60, 40}).narrowed(0, 7, 11),
        TensorSlice::whole_of({60, 40}).narrowed(1, 30, 5),
        TensorSlice::whole_of({60, 40}).narrowed(0, 5, 0)}) {
    CountingFileSystem files;
    const at::Tensor into = torch::zeros(slice.size);
    fill_tensors(files, checkpoint.manifest.tensors.at("model"), {{"w", into}}, {{"w", {slice}}});
    EXPECT_TRUE(at::equal(into, narrowed_to(w, TensorSlice::whole_of({60, 40}), slice)));
    EXPECT_EQ(files.bytes, into.nbytes());
  }
}

TEST(Resharding, RanksVerifyEveryByteOnceBetweenThem) {
  CapturedLog log;
  TemporaryFolder folder;
  TrainingState state;
  state.model = {{"a", torch::randn({100000})}, {"b", torch::randn({300, 100})}};
  CheckpointWriter(state, {.model_only = true, .chunk_bytes = 4096})
      .write(posix_file_system(), folder.path());
  const uint64_t total = fs::file_size(folder / "model.safetensors");
  std::vector<uint64_t> bytes(4);
  run_thread_ranks(4, [&](CheckpointRanks& ranks) {
    CountingFileSystem files;
    verify_checkpoint(files, folder.path(), std::nullopt, ranks);
    bytes[static_cast<size_t>(ranks.rank())] = files.bytes;
  });
  // Rank 0 alone reads the manifest, and the length of a header is read twice.
  bytes[0] -= fs::file_size(folder / "manifest.json") + 8;
  EXPECT_EQ(std::accumulate(bytes.begin(), bytes.end(), uint64_t{0}), total);
  for (const uint64_t own : bytes) EXPECT_NEAR(double(own), double(total) / 4, 4096);
}

TEST(Resharding, AFlippedBitAtAnyByteIsNoticed) {
  CapturedLog log;
  TemporaryFolder folder;
  save_halves(folder.path(), 5);
  MemoryFileSystem files;
  for (const auto& entry : fs::directory_iterator(folder / "checkpoint/step-5"))
    files.put("/c" / entry.path().filename(), posix_file_system().read_text(entry.path(), 1 << 20));
  EXPECT_NO_THROW(verify_checkpoint(files, "/c"));
  for (const std::string& name : files.list("/c")) {
    std::string& content = files.content("/c/" + name);
    for (size_t at = 0; at < content.size(); ++at) {
      content[at] = static_cast<char>(content[at] ^ (1 << (at % 8)));
      EXPECT_THROW(verify_checkpoint(files, "/c"), CheckpointError) << name << " byte " << at;
      content[at] = static_cast<char>(content[at] ^ (1 << (at % 8)));
    }
  }
}

void flip_last_byte(const fs::path& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-1, std::ios::end);
  const char last = static_cast<char>(file.get());
  file.seekp(-1, std::ios::end);
  file.put(static_cast<char>(last ^ 4));
}

TEST(Resharding, DamageIsNamedOnAllRanksAndTheOneBeforeUsed) {
  CapturedLog log;
  TemporaryFolder folder;
  save_halves(folder.path(), 5);
  save_halves(folder.path(), 6);
  flip_last_byte(folder / "checkpoint/step-6/model-rank-00001.safetensors");
  const auto errors = errors_of_ranks<CheckpointError>(3, [&](CheckpointRanks& ranks) {
    verify_checkpoint(posix_file_system(), folder / "checkpoint/step-6", 6, ranks);
    FAIL() << "verified";
  });
  EXPECT_THAT(errors[0], HasSubstr("model-rank-00001.safetensors: tensor 'own1' is damaged: its "
                                   "bytes ["));
  run_thread_ranks(2, [&](CheckpointRanks& ranks) {
    TrainingState state = half_state(ranks.rank());
    const TrainingState want = half_state(ranks.rank());
    for (auto& [name, tensor] : state.model) tensor = torch::zeros_like(tensor);
    Checkpointer checkpointer(saving_config(), folder.path(), posix_file_system(), ranks);
    EXPECT_EQ(checkpointer.load(state)->step, 5);
    EXPECT_TRUE(same_state(state, want));
  });
}

TEST(Resharding, WhateverFailsOnOneRankFailsOnAllAndLeavesNothing) {
  CapturedLog log;
  for (int rank : {0, 1}) {
    for (int k = 1, count = k; count >= k; ++k) {
      SCOPED_TRACE(fmt::format("operation {} of rank {}", k, rank));
      TemporaryFolder folder;
      save_halves(folder.path(), 5);
      count = 0;
      std::vector<int> saved(2);
      const auto errors = errors_of_ranks<CheckpointSaveError>(2, [&](CheckpointRanks& ranks) {
        InterceptedFileSystem failing(posix_file_system(), [&](const FileOperation& operation) {
          return operation.changes && ranks.rank() == rank && ++count == k ? ENOSPC : 0;
        });
        std::optional<Checkpointer> checkpointer;
        try {
          checkpointer.emplace(saving_config(), folder.path(), failing, ranks);
        } catch (const ConfigError& error) {
          EXPECT_THAT(error.what(), HasSubstr("No space left"));
          return;
        }
        checkpointer->save(6, half_state(ranks.rank()));
        saved[static_cast<size_t>(ranks.rank())] = 1;
      });
      EXPECT_THAT(errors[0], AnyOf("", HasSubstr("No space left")));
      EXPECT_EQ(saved[0], saved[1]);
      const auto left = posix_file_system().list(folder / "checkpoint");
      EXPECT_THAT(left, Each(StartsWith("step-")));
      EXPECT_TRUE(!saved[0] || fs::exists(folder / "checkpoint/step-6"));
      for (const std::string& name : left)
        EXPECT_NO_THROW(verify_checkpoint(posix_file_system(), folder / "checkpoint" / name));
      EXPECT_THAT(left, Contains("step-5"));
      if (HasFailure()) return;
    }
  }
}

// A rank that is gone is no trouble of the disk: its error must come out as it is.
TEST(Resharding, ALostRankIsNotTakenForAFailedSave) {
  CapturedLog log;
  TemporaryFolder folder;
  std::atomic<bool> told = false;
  try {
    run_thread_ranks(2, [&](CheckpointRanks& ranks) {
      InterceptedFileSystem files(posix_file_system(), [&](const FileOperation& operation) {
        if (ranks.rank() == 1 && operation.name == "sync") throw 1;
        return 0;
      });
      try {
        Checkpointer(saving_config(), folder.path(), files, ranks)
            .save(6, half_state(ranks.rank()));
      } catch (const Error& error) {
        told = error.exit_code() == ExitCode::kPeerLost;
        throw;
      }
    });
    FAIL() << "saved";
  } catch (int) {
  }
  EXPECT_TRUE(told);
  EXPECT_THAT(posix_file_system().list(folder / "checkpoint"), IsEmpty());
}

}  // namespace
}  // namespace coeus
