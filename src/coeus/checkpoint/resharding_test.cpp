// Checkpoints of ranks that hold slices, loaded by other ranks with other slices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "coeus/base/intercepted_file_system.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/checkpoint/sharded_run.h"
#include "coeus/checkpoint/thread_ranks.h"

namespace coeus {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

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

}  // namespace
}  // namespace coeus
