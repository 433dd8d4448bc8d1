#include <gmock/gmock.h>

#include "coeus/base/memory_file_system.h"
#include "coeus/checkpoint/small_run.h"

namespace coeus {
namespace {

using testing::HasSubstr;
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

}  // namespace
}  // namespace coeus
