#include "coeus/checkpoint/checkpointer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "coeus/base/memory_file_system.h"
#include "coeus/checkpoint/small_run.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CheckpointerTest : public testing::Test {
 protected:
  CheckpointerTest() {
    config.enable = true;
    config.keep_latest_k = 0;
    config.last_save_model_only = false;
  }

  void save(std::initializer_list<int64_t> steps) {
    Checkpointer checkpointer(config, "/run", files);
    for (int64_t step : steps) checkpointer.save(step, small_state(step));
  }

  std::optional<LoadedCheckpoint> load() {
    state = blank_state();
    return Checkpointer(config, "/run", files).load(state);
  }

  std::string refusal() {
    try {
      load();
    } catch (const CheckpointError& error) {
      EXPECT_EQ(error.exit_code(), ExitCode::kNoUsableCheckpoint);
      EXPECT_TRUE(same_state(state, blank_state())) << "changed before it was refused";
      return error.what();
    }
    return "";
  }

  std::string& weights_of(int64_t step) {
    return files.content(fmt::format("/run/checkpoint/step-{}/model.safetensors", step));
  }

  CapturedLog log;
  MemoryFileSystem files;
  CheckpointConfig config;
  TrainingState state;
};

TEST_F(CheckpointerTest, DoesNothingUnlessEnabled) {
  config.enable = false;
  EXPECT_FALSE(load());
  EXPECT_FALSE(Checkpointer(config, "/run", files).should_save(500, true));
  EXPECT_THAT(files.list("/"), IsEmpty());
}

TEST_F(CheckpointerTest, SavesAtIntervalsAndAtTheEnd) {
  config.interval = 10;
  {
    Checkpointer checkpointer(config, "/run", files);
    EXPECT_FALSE(checkpointer.should_save(1, false));
    EXPECT_FALSE(checkpointer.should_save(9, false));
    EXPECT_TRUE(checkpointer.should_save(10, false));
    EXPECT_TRUE(checkpointer.should_save(13, true));
  }
  config.enable_first_step_checkpoint = true;
  EXPECT_TRUE(Checkpointer(config, "/run", files).should_save(1, false));
  config.load_only = true;
  EXPECT_FALSE(Checkpointer(config, "/run", files).should_save(10, true));
}

TEST_F(CheckpointerTest, StartsAnewWhereNothingWasSaved) {
  EXPECT_FALSE(load());
  EXPECT_TRUE(same_state(state, blank_state()));
}

TEST_F(CheckpointerTest, ResumesFromTheLatestByNumber) {
  save({9, 10, 2});
  auto loaded = load();
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->step, 10);
  EXPECT_EQ(loaded->path, "/run/checkpoint/step-10");
  EXPECT_FALSE(loaded->model_only);
  EXPECT_TRUE(same_state(state, small_state(10)));
}

TEST_F(CheckpointerTest, LoadsTheStepAskedForOrNone) {
  save({10, 20});
  config.load_step = 10;
  EXPECT_EQ(load()->step, 10);
  EXPECT_TRUE(same_state(state, small_state(10)));
  EXPECT_THAT(log.text(), HasSubstr("later checkpoints, up to step 20"));
  config.load_step = 15;
  EXPECT_THAT(refusal(), HasSubstr("step 15 is wanted, but /run/checkpoint holds only the steps "
                                   "10, 20"));
  config.load_step = 20;
  weights_of(20).back() ^= 1;
  EXPECT_THAT(refusal(), HasSubstr("step 20 cannot be used: /run/checkpoint/step-20/"
                                   "model.safetensors: tensor"));
}

TEST_F(CheckpointerTest, RefusesAStepAskedForWhereThereAreNone) {
  config.load_step = 10;
  EXPECT_THAT(refusal(), HasSubstr("/run/checkpoint holds no checkpoint"));
}

TEST_F(CheckpointerTest, GoesBackToTheLatestGoodOneAndSaysSo) {
  save({10, 20, 30});
  weights_of(30).back() ^= 1;
  files.content("/run/checkpoint/step-20/manifest.json").pop_back();
  EXPECT_EQ(load()->step, 10);
  EXPECT_TRUE(same_state(state, small_state(10)));
  EXPECT_THAT(log.text(),
              HasSubstr("the checkpoint of step 30 cannot be used: "
                        "/run/checkpoint/step-30/model.safetensors: tensor 'layers.0.wq.weight' is "
                        "damaged: its bytes ["));
  EXPECT_THAT(log.text(), HasSubstr("going back to that of step 10"));
  weights_of(10).clear();
  std::string text = refusal();
  EXPECT_THAT(text, HasSubstr("none of the 3 checkpoints in /run/checkpoint can be used"));
  for (const char* step :
       {"step-10/model.safetensors: the file has 0 bytes", "step-20", "step-30"}) {
    EXPECT_THAT(text, HasSubstr(step));
  }
}

TEST_F(CheckpointerTest, AStepFolderOfSomebodyElseIsNoStart) {
  files.put("/run/checkpoint/step-5/.metadata", "");
  EXPECT_THAT(refusal(), HasSubstr("step-5 holds no manifest.json"));
}

TEST_F(CheckpointerTest, AnotherModelIsNamedTensorByTensor) {
  save({10, 20});
  state = blank_state();
  state.model[0].second = torch::zeros({4, 4});
  state.model[2].first = "final_norm.weight";
  state.optimizer.pop_back();
  state.states["sampler"] = 1;
  try {
    Checkpointer(config, "/run", files).load(state);
    FAIL();
  } catch (const CheckpointError& error) {
    for (const char* text : {"step-20 does not fit", "model: wrong shape: 'tok_embeddings.weight'",
                             "model: missing: 'final_norm.weight'", "model: unknown: 'norm.weight'",
                             "optimizer: unknown: 'step'", "missing: the state 'sampler'"}) {
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  }
  EXPECT_EQ(state.model[0].second.abs().sum().item<float>(), 0);
}

TEST_F(CheckpointerTest, LeavesOutWhatIsExcluded) {
  save({10});
  config.exclude_from_loading = {"optimizer", "dataloader"};
  load();
  EXPECT_TRUE(same_tensors(state.model, small_state(10).model));
  EXPECT_TRUE(same_tensors(state.optimizer, blank_state().optimizer));
  EXPECT_EQ(state.states["dataloader"], blank_state().states["dataloader"]);
  EXPECT_EQ(state.states["train_state"], small_state(10).states["train_state"]);
  config.exclude_from_loading = {"optimiser"};
  EXPECT_THROW(load(), ConfigError);
}

TEST_F(CheckpointerTest, OfASeedOnlyTheModelIsTaken) {
  save({0});
  auto loaded = load();
  EXPECT_TRUE(loaded->model_only);
  EXPECT_TRUE(same_tensors(state.model, small_state(0).model));
  EXPECT_TRUE(same_tensors(state.optimizer, blank_state().optimizer));
  EXPECT_EQ(state.states, blank_state().states);
}

TEST_F(CheckpointerTest, TheLastSaveMayHoldTheModelOnlyInAnotherType) {
  config.last_save_model_only = true;
  config.export_dtype = "bfloat16";
  save({10});
  Checkpointer(config, "/run", files).save(20, small_state(20), true);
  EXPECT_THAT(files.list("/run/checkpoint/step-20"),
              ElementsAre("manifest.json", "model.safetensors"));
  auto seen = verify_checkpoint(files, "/run/checkpoint/step-20");
  for (const auto& tensor : seen.manifest.tensors.at("model"))
    EXPECT_EQ(tensor.type, StoredType::kBF16);

  EXPECT_EQ(load()->step, 10) << "a run cannot go on from the model alone";
  EXPECT_THAT(log.text(), HasSubstr("step-20 holds the model only"));
  config.load_step = 20;
  EXPECT_THAT(refusal(), HasSubstr("this run needs optimizer, dataloader, lr_scheduler, "
                                   "train_state too"));
}

TEST_F(CheckpointerTest, AModelOnlyCheckpointServesARunThatExcludesTheRest) {
  config.last_save_model_only = true;
  Checkpointer(config, "/run", files).save(20, small_state(20), true);
  config.exclude_from_loading = {"optimizer", "lr_scheduler", "dataloader", "train_state"};
  EXPECT_EQ(load()->step, 20);
  EXPECT_TRUE(same_tensors(state.model, small_state(20).model));
}

TEST_F(CheckpointerTest, TheModelAloneIsTakenFromAnyCheckpointOfTheRun) {
  save({10});
  NamedTensors model = blank_state().model;
  EXPECT_EQ(Checkpointer(config, "/run", files).load_model(model)->step, 10);
  EXPECT_TRUE(same_tensors(model, small_state(10).model));

  config.last_save_model_only = true;
  config.export_dtype = "bfloat16";
  Checkpointer(config, "/run", files).save(20, small_state(20), true);
  auto loaded = Checkpointer(config, "/run", files).load_model(model);
  EXPECT_EQ(loaded->step, 20);
  EXPECT_TRUE(loaded->model_only);
  for (size_t i = 0; i < model.size(); ++i) {
    const at::Tensor exported = small_state(20).model[i].second.to(at::kBFloat16);
    EXPECT_TRUE(at::equal(model[i].second.to(at::kBFloat16), exported)) << model[i].first;
  }
  config.enable = false;
  EXPECT_FALSE(Checkpointer(config, "/run", files).load_model(model));
}

TEST_F(CheckpointerTest, AModelLoadsWithoutTheExpertBiasesThatWereNotSaved) {
  save({10});
  NamedTensors model = blank_state().model;
  model.emplace_back("layers.0.moe.expert_bias", torch::ones({4}));
  EXPECT_EQ(Checkpointer(config, "/run", files).load_model(model)->step, 10);
  EXPECT_TRUE(at::equal(model[0].second, small_state(10).model[0].second));
  EXPECT_TRUE(at::equal(model.back().second, torch::zeros({4})));
  model.emplace_back("layers.0.moe.router.gate.weight", torch::zeros({4}));
  EXPECT_THROW(Checkpointer(config, "/run", files).load_model(model), CheckpointError);
}

TEST_F(CheckpointerTest, InitialWeightsServeARunWithoutCheckpoints) {
  save({30});
  files.rename("/run/checkpoint/step-30", "/start");
  config.initial_load_path = "/start";
  auto loaded = load();
  EXPECT_EQ(loaded->path, "/start");
  EXPECT_TRUE(loaded->model_only);
  EXPECT_TRUE(same_tensors(state.model, small_state(30).model));
  EXPECT_EQ(state.states, blank_state().states);
  EXPECT_THAT(log.text(), HasSubstr("loading checkpoint.initial_load_path /start"));

  config.initial_load_model_only = false;
  loaded = load();
  EXPECT_FALSE(loaded->model_only);
  EXPECT_EQ(loaded->step, 30);
  EXPECT_TRUE(same_state(state, small_state(30)));

  config.initial_load_path = "/start/model.safetensors";
  EXPECT_THAT(refusal(), HasSubstr("[checkpoint.initial_load_path] /start/model.safetensors holds "
                                   "weights only"));

  save({5});
  config.initial_load_path = "/start";
  EXPECT_EQ(load()->step, 5);
  EXPECT_THAT(log.text(), HasSubstr("initial_load_path /start is not used"));
}

TEST_F(CheckpointerTest, KeepsTheLatestK) {
  config.keep_latest_k = 2;
  files.put("/run/checkpoint/step-1/.metadata", "not a checkpoint of coeus");
  save({10, 20, 30, 40});
  EXPECT_THAT(files.list("/run/checkpoint"), ElementsAre("step-1", "step-30", "step-40"));
}

TEST_F(CheckpointerTest, KeepsTheOlderOnesWhenTheNewOneReadsBackWrong) {
  config.keep_latest_k = 2;
  save({10, 20});
  // A disk that keeps something else than what it was given.
  class LyingFileSystem : public MemoryFileSystem {
   public:
    void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
      MemoryFileSystem::rename(from, to);
      if (to.filename() == "step-30") content(to / "optimizer.safetensors").back() ^= 4;
    }
  } lying;
  for (int64_t step : {10, 20, 30}) {
    Checkpointer(config, "/run", lying).save(step, small_state(step));
  }
  EXPECT_THAT(lying.list("/run/checkpoint"), ElementsAre("step-10", "step-20", "step-30"));
  EXPECT_THAT(log.text(), HasSubstr("does not read back right"));
  state = blank_state();
  EXPECT_EQ(Checkpointer(config, "/run", lying).load(state)->step, 20);
}

TEST_F(CheckpointerTest, ASaveReplacesADamagedOneOfTheSameStep) {
  save({10, 20});
  weights_of(20).pop_back();
  EXPECT_EQ(load()->step, 10);
  save({20});
  EXPECT_EQ(load()->step, 20);
  EXPECT_THAT(files.list("/run/checkpoint"), ElementsAre("step-10", "step-20"));
}

TEST_F(CheckpointerTest, RemovesWhatAnInterruptedRunLeft) {
  files.put("/run/checkpoint/.step-20.tmp/model.safetensors", "half");
  save({});
  EXPECT_THAT(files.list("/run/checkpoint"), IsEmpty());
}

TEST_F(CheckpointerTest, ALoadOnlyRunLeavesTheFolderAsItIs) {
  save({10});
  files.put("/run/checkpoint/.step-20.tmp/model.safetensors", "half");
  config.load_only = true;
  EXPECT_EQ(load()->step, 10);
  EXPECT_THAT(files.list("/run/checkpoint"), ElementsAre(".step-20.tmp", "step-10"));
  EXPECT_THROW(Checkpointer(config, "/run", files).save(20, small_state(20)), Error);
}

TEST_F(CheckpointerTest, TwoRunsCannotShareAFolder) {
  Checkpointer first(config, "/run", files);
  EXPECT_THROW(Checkpointer(config, "/run", files), ConfigError);
  config.load_only = true;
  EXPECT_NO_THROW(Checkpointer(config, "/run", files));
}

// A regular file in the way stands for a missing permission: root is refused by it as well.
TEST_F(CheckpointerTest, AFolderThatCannotBeWrittenIsRefusedAtTheStart) {
  auto refused = [&](const std::filesystem::path& folder, FileSystem& file_system) {
    try {
      Checkpointer checkpointer(config, folder, file_system);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  files.put("/run", "a file");
  EXPECT_THAT(refused("/run", files),
              HasSubstr("checkpoints cannot be saved to /run/checkpoint: cannot make folder /run: "
                        "Not a directory"));
  EXPECT_THAT(refused("/proc/version", posix_file_system()), HasSubstr("Not a directory"));
}

TEST_F(CheckpointerTest, AFullDiskIsNoticedBeforeAByteIsWritten) {
  MemoryFileSystem small(2000);
  Checkpointer checkpointer(config, "/run", small);
  try {
    checkpointer.save(10, small_state(10));
    FAIL();
  } catch (const CheckpointSaveError& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kFailure);
    EXPECT_THAT(error.what(),
                HasSubstr("cannot save /run/checkpoint/step-10: the disk is full; the "
                          "checkpoint needs "));
    EXPECT_THAT(error.what(), HasSubstr("free are 2000 bytes"));
  }
  EXPECT_THAT(small.list("/run/checkpoint"), IsEmpty());
}

TEST_F(CheckpointerTest, UnsupportedSettingsAreRefusedByName) {
  auto refused = [&](auto change) {
    CheckpointConfig changed = config;
    change(changed);
    EXPECT_THROW(Checkpointer(changed, "/run", files), ConfigError);
  };
  refused([](auto& c) { c.async_mode = "sometimes"; });
  refused([](auto& c) {
    c.initial_load_in_hf = true;
    c.initial_load_model_only = false;
  });
  refused([](auto& c) { c.initial_load_in_hf_quantized = true; });
  refused([](auto& c) {
    c.last_save_in_hf = true;
    c.last_save_model_only = false;
  });
  refused([](auto& c) { c.keep_latest_k = 1; });
  refused([](auto& c) { c.export_dtype = "float64"; });
  config.async_mode = "Disabled";
  EXPECT_NO_THROW(Checkpointer(config, "/run", files));
}

}  // namespace
}  // namespace coeus
