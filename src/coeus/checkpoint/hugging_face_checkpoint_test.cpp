#include <gmock/gmock.h>

#include <cerrno>

#include "coeus/base/intercepted_file_system.h"
#include "coeus/base/memory_file_system.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/checkpoint/initial_weights.h"
#include "coeus/checkpoint/sharded_run.h"
#include "coeus/checkpoint/stored_tensors.h"
#include "coeus/checkpoint/thread_ranks.h"

namespace coeus {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

HuggingFaceFormat small_format() {
  return {.names = {.rules = {{"tok_embeddings.weight", "model.embed_tokens.weight"},
                              {"layers.{}.wq.weight", "model.layers.{}.q_proj.weight"},
                              {"norm.weight", "model.norm.weight"}}},
          .config = {{"model_type", "small"}}};
}

CheckpointConfig hugging_face_config() {
  CheckpointConfig config;
  config.enable = true;
  config.last_save_in_hf = true;
  return config;
}

Checkpointer checkpointer(const CheckpointConfig& config, FileSystem& files,
                          const std::string& folder = "/run") {
  Checkpointer made(config, folder, files);
  made.use_hugging_face(small_format(), "/assets");
  return made;
}

TEST(HuggingFaceCheckpoint, OnlyTheLastSaveHasTheirNames) {
  MemoryFileSystem files;
  Checkpointer saving = checkpointer(hugging_face_config(), files);
  saving.save(5, small_state(5));
  saving.save(7, small_state(7), /*last_step=*/true);
  EXPECT_EQ(files.kind("/run/checkpoint/step-5/manifest.json"), FileSystem::Kind::kFile);
  EXPECT_THAT(
      files.list("/run/checkpoint/step-7"),
      UnorderedElementsAre("model.safetensors", "model.safetensors.index.json", "config.json"));
}

TEST(HuggingFaceCheckpoint, ANewRunStartsFromIt) {
  MemoryFileSystem files;
  checkpointer(hugging_face_config(), files).save(7, small_state(7), /*last_step=*/true);
  CheckpointConfig config;
  config.enable = true;
  config.initial_load_in_hf = true;
  config.initial_load_path = "/run/checkpoint/step-7";
  TrainingState state = blank_state();
  const auto loaded = checkpointer(config, files, "/new").load(state);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_TRUE(loaded->model_only);
  EXPECT_TRUE(same_tensors(state.model, small_state(7).model));
  EXPECT_TRUE(same_tensors(state.optimizer, blank_state().optimizer));
}

TEST(HuggingFaceCheckpoint, WithoutAPathTheWeightsAreThoseOfTheAssetsFolder) {
  MemoryFileSystem files;
  checkpointer(hugging_face_config(), files).save(7, small_state(7), /*last_step=*/true);
  files.rename("/run/checkpoint/step-7", "/assets");
  CheckpointConfig config;
  config.enable = true;
  config.initial_load_in_hf = true;
  TrainingState state = blank_state();
  ASSERT_TRUE(checkpointer(config, files, "/new").load(state).has_value());
  EXPECT_TRUE(same_tensors(state.model, small_state(7).model));
}

TEST(HuggingFaceCheckpoint, IsWrittenInTheExportDtype) {
  MemoryFileSystem files;
  CheckpointConfig config = hugging_face_config();
  config.export_dtype = "bfloat16";
  checkpointer(config, files).save(7, small_state(7), /*last_step=*/true);
  EXPECT_THAT(files.read_text("/run/checkpoint/step-7/config.json", 10000),
              HasSubstr("\"torch_dtype\": \"bfloat16\""));
  TrainingState state = blank_state();
  ASSERT_TRUE(checkpointer(config, files).load_model(state.model).has_value());
  for (size_t i = 0; i < state.model.size(); ++i) {
    const at::Tensor saved = small_state(7).model[i].second;
    EXPECT_TRUE(at::equal(state.model[i].second, saved.to(at::kBFloat16).to(saved.scalar_type())));
  }
}

TEST(HuggingFaceCheckpoint, CannotBeResumedFromAndSaysWhatToDo) {
  MemoryFileSystem files;
  checkpointer(hugging_face_config(), files).save(7, small_state(7), /*last_step=*/true);
  TrainingState state = blank_state();
  try {
    checkpointer(hugging_face_config(), files).load(state);
    FAIL() << "resumed";
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("name it as checkpoint.initial_load_path of a new run, "
                                        "with checkpoint.initial_load_in_hf"));
  }
}

TEST(HuggingFaceCheckpoint, NativeNamesAreNotTakenForTheirs) {
  MemoryFileSystem files;
  Checkpointer(saving_config(), "/run", files).save(7, small_state(7));
  CheckpointConfig config;
  config.enable = true;
  config.initial_load_in_hf = true;
  config.initial_load_path = "/run/checkpoint/step-7";
  TrainingState state = blank_state();
  try {
    checkpointer(config, files, "/new").load(state);
    FAIL() << "loaded";
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("missing: 'model.norm.weight'"));
    EXPECT_THAT(error.what(), HasSubstr("unknown: 'norm.weight'"));
  }
  EXPECT_TRUE(same_state(state, blank_state()));
}

/// A state with experts, of which each is a tensor of its own there.
TrainingState state_with_experts() {
  TrainingState state = small_state(7);
  state.model.emplace_back("layers.0.experts.w1", at::rand({4, 2, 5}));
  state.model.emplace_back("layers.0.expert_bias", at::zeros({4}));
  return state;
}

HuggingFaceFormat format_with_experts() {
  HuggingFaceFormat format = small_format();
  format.names.rules.push_back({"layers.{}.experts.w1", "model.layers.{}.experts.{}.up.weight",
                                ForeignLayout::kOnePerExpert});
  format.names.rules.push_back({"layers.{}.expert_bias", ""});
  return format;
}

class ShardedHuggingFace : public testing::Test {
 protected:
  /// Runs `f` with a checkpointer and the state of each of three ranks.
  template <class F>
  void on_ranks(const CheckpointConfig& config, const std::string& name, F f) {
    const Layout layout = random.layout_of(whole.model, 3);
    run_thread_ranks(3, [&](CheckpointRanks& ranks) {
      Checkpointer made(config, folder / name, posix_file_system(), ranks);
      made.use_hugging_face(format_with_experts(), "/assets");
      const auto& held = layout[static_cast<size_t>(ranks.rank())];
      f(made, rank_state(whole, held, {}));
    });
  }

  CapturedLog log;
  TemporaryFolder folder;
  RandomLayouts random{5};
  TrainingState whole = state_with_experts();
};

TEST_F(ShardedHuggingFace, TheRanksSlicesAreJoinedToTheFilesOfASingleProcess) {
  CheckpointConfig config = hugging_face_config();
  config.export_dtype = "bfloat16";
  Checkpointer single(config, folder / "one");
  single.use_hugging_face(format_with_experts(), "/assets");
  single.save(7, whole, /*last_step=*/true);
  on_ranks(config, "three", [](Checkpointer& checkpointer, const TrainingState& state) {
    checkpointer.save(7, state, /*last_step=*/true);
  });
  const auto expected = folder / "one/checkpoint/step-7";
  const auto found = folder / "three/checkpoint/step-7";
  FileSystem& files = posix_file_system();
  ASSERT_EQ(files.list(found), files.list(expected));
  StoredTensors stored(files, find_initial_weights(files, found).model);
  StoredTensors stored_of_one(files, find_initial_weights(files, expected).model);
  ASSERT_EQ(stored.all().size(), stored_of_one.all().size());
  for (const auto& [name, tensor] : stored_of_one.all()) {
    EXPECT_EQ(stored.find(name)->type, StoredType::kBF16);
    EXPECT_TRUE(at::equal(stored.read(name), stored_of_one.read(name))) << name;
  }
}

TEST_F(ShardedHuggingFace, EachRankLoadsItsSlices) {
  Checkpointer single(hugging_face_config(), folder / "one");
  single.use_hugging_face(format_with_experts(), "/assets");
  single.save(7, whole, /*last_step=*/true);
  CheckpointConfig config;
  config.enable = true;
  config.initial_load_in_hf = true;
  config.initial_load_path = folder / "one/checkpoint/step-7";
  for (int i = 0; i < 5; ++i) {
    on_ranks(config, "three", [](Checkpointer& checkpointer, const TrainingState& want) {
      TrainingState state = want;
      for (auto& [name, tensor] : state.model) tensor = at::full_like(tensor, 3);
      ASSERT_TRUE(checkpointer.load(state).has_value());
      EXPECT_TRUE(same_tensors(state.model, want.model));
    });
  }
}

TEST_F(ShardedHuggingFace, AFullDiskFailsOnAllRanks) {
  const Layout layout = random.layout_of(whole.model, 2);
  run_thread_ranks(2, [&](CheckpointRanks& ranks) {
    InterceptedFileSystem failing(posix_file_system(), [&](const FileOperation& operation) {
      return operation.path.filename() == "config.json" ? ENOSPC : 0;
    });
    Checkpointer made(hugging_face_config(), folder / "two", failing, ranks);
    made.use_hugging_face(format_with_experts(), "/assets");
    EXPECT_THROW(
        made.save(7, rank_state(whole, layout[static_cast<size_t>(ranks.rank())], {}), true),
        CheckpointSaveError);
  });
  EXPECT_THAT(posix_file_system().list(folder / "two/checkpoint"), IsEmpty());
}

}  // namespace
}  // namespace coeus
