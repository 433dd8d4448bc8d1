#include "coeus/checkpoint/checkpointer.h"

#include <algorithm>
#include <cctype>

#include "coeus/base/log.h"
#include "coeus/checkpoint/initial_weights.h"
#include "coeus/checkpoint/staged_copy.h"
#include "coeus/checkpoint/stopwatch.h"

namespace coeus {

namespace fs = std::filesystem;

namespace {

// TorchTitan's rule: step 0 is a seed, of which only the model is taken.
LoadSelection for_step(int64_t step, LoadSelection selection) {
  selection.model_only |= step == 0;
  return selection;
}

constexpr const char* kNotAsync = "disabled";
constexpr const char* kAsync = "async";
constexpr const char* kAsyncPinned = "async_with_pinned_mem";

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return text;
}

void check_supported(const CheckpointConfig& config) {
  const std::string mode = lower_case(config.async_mode);
  COEUS_CHECK_CONFIG(mode == kNotAsync || mode == kAsync || mode == kAsyncPinned,
                     "[checkpoint.async_mode] must be {}, {} or {}, got '{}'", kNotAsync, kAsync,
                     kAsyncPinned, config.async_mode);
  COEUS_CHECK_CONFIG(!config.initial_load_in_hf || config.initial_load_model_only,
                     "[checkpoint.initial_load_in_hf] Hugging Face's folders hold the model only; "
                     "set checkpoint.initial_load_model_only");
  COEUS_CHECK_CONFIG(!config.initial_load_in_hf_quantized || config.initial_load_in_hf,
                     "[checkpoint.initial_load_in_hf_quantized] is for weights with Hugging Face's "
                     "names; set checkpoint.initial_load_in_hf too");
  COEUS_CHECK_CONFIG(!config.last_save_in_hf || config.last_save_model_only,
                     "[checkpoint.last_save_in_hf] Hugging Face's folders hold the model only; set "
                     "checkpoint.last_save_model_only");
  COEUS_CHECK_CONFIG(config.interval >= 1, "[checkpoint.interval] must be at least 1, got {}",
                     config.interval);
  COEUS_CHECK_CONFIG(config.keep_latest_k >= 0 && config.keep_latest_k != 1,
                     "[checkpoint.keep_latest_k] must be 0 (keep all) or at least 2, got {}",
                     config.keep_latest_k);
}

StoredType export_type_named(const std::string& name) {
  if (name == "float32") return StoredType::kF32;
  if (name == "bfloat16") return StoredType::kBF16;
  if (name == "float16") return StoredType::kF16;
  throw ConfigError(fmt::format(
      "[checkpoint.export_dtype] must be float32, bfloat16 or float16, got '{}'", name));
}

}  // namespace

Checkpointer::Checkpointer(CheckpointConfig config, const fs::path& dump_folder,
                           FileSystem& file_system, CheckpointRanks& ranks)
    : config_(std::move(config)),
      file_system_(file_system),
      ranks_(ranks),
      folder_(file_system, dump_folder / config_.folder) {
  if (!config_.enable) return;
  check_supported(config_);
  export_type_named(config_.export_dtype);
  if (!config_.load_only) {
    together<ConfigError>(ranks_, [&] {
      if (ranks_.rank() == 0) take_folder();
    });
  }
  log_info("Checkpointing active. Checkpoints will be loaded from and saved to {}",
           folder_.path().string());
}

void Checkpointer::take_folder() {
  try {
    file_system_.make_folders(folder_.path());
    lock_ = file_system_.try_lock(folder_.path());
    COEUS_CHECK_CONFIG(lock_,
                       "[checkpoint.folder] {} is in use by another run; end it or choose "
                       "another job.dump_folder",
                       folder_.path().string());
    folder_.clean_up();
    // Better to learn now than after the first interval that nothing can be saved here.
    const fs::path trial = folder_.path() / ".step-0.tmp";
    file_system_.make_folder(trial);
    file_system_.remove_folder(trial);
  } catch (const FileError& error) {
    throw ConfigError(
        fmt::format("[checkpoint.folder] checkpoints cannot be saved to {}: {}; choose "
                    "another job.dump_folder, or set checkpoint.load_only",
                    folder_.path().string(), error.what()));
  }
}

void Checkpointer::use_hugging_face(HuggingFaceFormat format, fs::path assets) {
  hugging_face_ = std::move(format);
  assets_ = std::move(assets);
}

const HuggingFaceFormat& Checkpointer::hugging_face() const {
  COEUS_CHECK(hugging_face_.has_value(), "[Checkpointer] use_hugging_face was not called");
  return *hugging_face_;
}

bool Checkpointer::should_save(int64_t step, bool last_step) const {
  if (!config_.enable || config_.load_only) return false;
  return last_step || (step == 1 && config_.enable_first_step_checkpoint) ||
         step % config_.interval == 0;
}

CheckpointContents Checkpointer::contents_of(int64_t step, bool last_step) const {
  CheckpointContents contents;
  contents.step = step;
  if (last_step && config_.last_save_model_only) {
    contents.model_only = true;
    // As in TorchTitan, float32 leaves every tensor as it is.
    StoredType type = export_type_named(config_.export_dtype);
    if (type != StoredType::kF32) contents.export_type = type;
  }
  return contents;
}

bool Checkpointer::is_async() const { return lower_case(config_.async_mode) != kNotAsync; }

void Checkpointer::save(int64_t step, const TrainingState& state, bool last_step) {
  COEUS_CHECK(
      config_.enable && !config_.load_only,
      "[Checkpointer::save] saving is off: checkpoint.enable = {}, checkpoint.load_only = {}",
      config_.enable, config_.load_only);
  pending_.wait_and_log();
  const CheckpointContents contents = contents_of(step, last_step);
  CheckpointSaver saver(file_system_, folder_, ranks_);
  if (last_step && config_.last_save_in_hf) {
    saver.save_hugging_face(state, contents, hugging_face());
    return;
  }
  const bool in_background = is_async() && !last_step;
  std::optional<CheckpointWriter> writer;
  together<Error>(ranks_, [&] {
    if (in_background) {
      const bool pinned = lower_case(config_.async_mode) == kAsyncPinned;
      writer.emplace(staged_copy(state, pinned), contents, ranks_);
    } else {
      writer.emplace(state, contents, ranks_);
    }
  });
  auto write = [saver, contents, writer = std::move(*writer),
                keep = config_.keep_latest_k]() mutable {
    saver.save(writer);
    if (!contents.model_only) saver.remove_old(contents.step, keep);
  };
  if (in_background) {
    pending_.start(std::move(write));
  } else {
    write();
  }
}

void Checkpointer::wait() { pending_.wait(); }

std::vector<int64_t> Checkpointer::steps_of_first() const {
  std::vector<int64_t> steps;
  together<CheckpointError>(ranks_, [&] {
    try {
      if (ranks_.rank() == 0) steps = folder_.steps();
    } catch (const FileError& error) {
      throw CheckpointError(fmt::format("[checkpoint.folder] {}", error.what()));
    }
  });
  return nlohmann::json::parse(text_of_first(ranks_, nlohmann::json(steps).dump()));
}

bool Checkpointer::holds_hugging_face(int64_t step) {
  const fs::path folder = folder_.step_path(step);
  bool holds = false;
  try {
    holds = ranks_.rank() == 0 &&
            file_system_.kind(folder / kManifestName) == FileSystem::Kind::kAbsent &&
            file_system_.kind(folder / kSafetensorsIndexName) == FileSystem::Kind::kFile;
  } catch (const FileError&) {
    holds = false;
  }
  return text_of_first(ranks_, holds ? "yes" : "no") == "yes";
}

LoadedCheckpoint Checkpointer::load_hugging_face(const fs::path& path, const TrainingState& into,
                                                 bool quantized) {
  Stopwatch watch;
  log_info("Loading weights with Hugging Face's names from {}.", path.string());
  const auto shapes = whole_shapes_of(into.model, into.model_slices, ranks_);
  try {
    std::optional<HuggingFaceWeights> weights;
    together<CheckpointError>(ranks_, [&] {
      weights.emplace(file_system_, path, hugging_face(), shapes,
                      HuggingFaceWeights::Options{quantized});
    });
    together<CheckpointError>(ranks_, [&] { weights->fill(into.model, into.model_slices); });
  } catch (const FileError& error) {
    throw CheckpointError(error.what());
  }
  log_info("Finished loading the checkpoint in {:.2f} seconds.", watch.seconds());
  return LoadedCheckpoint{path, 0, /*model_only=*/true};
}

void Checkpointer::check_excluded(const TrainingState& into) const {
  std::vector<std::string> known{"model", "optimizer"};
  for (const auto& [key, state] : into.states) known.push_back(key);
  for (const std::string& key : config_.exclude_from_loading) {
    COEUS_CHECK_CONFIG(std::find(known.begin(), known.end(), key) != known.end(),
                       "[checkpoint.exclude_from_loading] unknown key '{}'; the keys are {}", key,
                       fmt::join(known, ", "));
  }
}

std::optional<LoadedCheckpoint> Checkpointer::load(TrainingState& into) {
  if (!config_.enable) return std::nullopt;
  check_excluded(into);
  return load(into, {.exclude = config_.exclude_from_loading});
}

std::optional<LoadedCheckpoint> Checkpointer::load_model(const NamedTensors& model,
                                                         const HeldSlices& slices) {
  if (!config_.enable) return std::nullopt;
  TrainingState into;
  into.model = model;
  into.model_slices = slices;
  return load(into, {.model_only = true,
                     .model_rules = {.convert_floats = true, .expert_bias_may_be_absent = true}});
}

std::optional<LoadedCheckpoint> Checkpointer::load(TrainingState& into,
                                                   const LoadSelection& selection) {
  pending_.wait_and_log();
  const std::vector<int64_t> steps = steps_of_first();
  if (!steps.empty()) {
    const int64_t step = config_.load_step >= 0 ? config_.load_step : steps.back();
    if (selection.model_only && holds_hugging_face(step))
      return load_hugging_face(folder_.step_path(step), into, /*quantized=*/true);
    return load_own(steps, into, selection);
  }
  COEUS_CHECK_AS(CheckpointError, config_.load_step < 0,
                 "[checkpoint.load_step] step {} is wanted, but {} holds no checkpoint",
                 config_.load_step, folder_.path().string());
  if (config_.initial_load_in_hf)
    return load_hugging_face(
        config_.initial_load_path ? fs::path(*config_.initial_load_path) : assets_, into,
        config_.initial_load_in_hf_quantized);
  if (!config_.initial_load_path) return std::nullopt;
  return load_initial(into, selection);
}

LoadedCheckpoint Checkpointer::load_initial(TrainingState& into, const LoadSelection& selection) {
  Stopwatch watch;
  const fs::path path = *config_.initial_load_path;
  log_info("{} holds no checkpoint: loading checkpoint.initial_load_path {}",
           folder_.path().string(), path.string());
  try {
    const InitialWeights weights = find_initial_weights(file_system_, path, ranks_);
    LoadedCheckpoint loaded{path, 0, selection.model_only || config_.initial_load_model_only};
    if (weights.checkpoint) loaded.step = weights.checkpoint->manifest.step;
    if (loaded.model_only) {
      load_model_weights(file_system_, path, weights, into.model, into.model_slices, ranks_);
    } else {
      COEUS_CHECK_AS(CheckpointError, weights.checkpoint.has_value(),
                     "{} holds weights only; checkpoint.initial_load_model_only = false needs a "
                     "checkpoint of coeus",
                     path.string());
      load_checkpoint(file_system_, *weights.checkpoint, selection, into, ranks_);
    }
    log_info("Finished loading the checkpoint in {:.2f} seconds.", watch.seconds());
    return loaded;
  } catch (const CheckpointError& error) {
    throw CheckpointError(fmt::format("[checkpoint.initial_load_path] {}", error.what()));
  }
}

LoadedCheckpoint Checkpointer::load_own(const std::vector<int64_t>& steps, TrainingState& into,
                                        LoadSelection selection) {
  Stopwatch watch;
  if (config_.initial_load_path) {
    log_warning("checkpoint.initial_load_path {} is not used: {} holds checkpoints of this run",
                *config_.initial_load_path, folder_.path().string());
  }
  const VerifiedCheckpoint checkpoint = config_.load_step >= 0
                                            ? open_wanted_step(steps, into, selection)
                                            : open_newest_usable(steps, into, selection);
  const int64_t step = checkpoint.manifest.step;
  selection = for_step(step, selection);
  log_info("Loading the checkpoint from {}.", checkpoint.folder.string());
  load_checkpoint(file_system_, checkpoint, selection, into, ranks_);
  log_info("Finished loading the checkpoint in {:.2f} seconds.", watch.seconds());
  return LoadedCheckpoint{checkpoint.folder, step, selection.model_only};
}

VerifiedCheckpoint Checkpointer::open_step(int64_t step, const TrainingState& into,
                                           const LoadSelection& selection) {
  COEUS_CHECK_AS(CheckpointError, !holds_hugging_face(step),
                 "{} holds the model only, with Hugging Face's names (checkpoint.last_save_in_hf); "
                 "name it as checkpoint.initial_load_path of a new run, with "
                 "checkpoint.initial_load_in_hf",
                 folder_.step_path(step).string());
  VerifiedCheckpoint checkpoint =
      verify_checkpoint(file_system_, folder_.step_path(step), step, ranks_);
  const auto absent = lacking(checkpoint, into, for_step(step, selection));
  COEUS_CHECK_AS(CheckpointError, !checkpoint.manifest.is_model_only() || absent.empty(),
                 "{} holds the model only (checkpoint.last_save_model_only), and this run needs {} "
                 "too; name it as checkpoint.initial_load_path of a new run, or leave those out by "
                 "checkpoint.exclude_from_loading",
                 checkpoint.folder.string(), fmt::join(absent, ", "));
  return checkpoint;
}

VerifiedCheckpoint Checkpointer::open_wanted_step(const std::vector<int64_t>& steps,
                                                  const TrainingState& into,
                                                  const LoadSelection& selection) {
  const int64_t wanted = config_.load_step;
  COEUS_CHECK_AS(CheckpointError, std::find(steps.begin(), steps.end(), wanted) != steps.end(),
                 "[checkpoint.load_step] step {} is wanted, but {} holds only the steps {}", wanted,
                 folder_.path().string(), fmt::join(steps, ", "));
  if (steps.back() > wanted) {
    log_warning(
        "{} holds later checkpoints, up to step {}; a start with checkpoint.load_step = -1 "
        "would take the latest of them",
        folder_.path().string(), steps.back());
  }
  try {
    return open_step(wanted, into, selection);
  } catch (const CheckpointError& error) {
    throw CheckpointError(
        fmt::format("[checkpoint.load_step] step {} cannot be used: {}", wanted, error.what()));
  }
}

VerifiedCheckpoint Checkpointer::open_newest_usable(const std::vector<int64_t>& steps,
                                                    const TrainingState& into,
                                                    const LoadSelection& selection) {
  std::vector<std::string> reasons;
  for (size_t i = steps.size(); i-- > 0;) {
    try {
      return open_step(steps[i], into, selection);
    } catch (const CheckpointError& error) {
      reasons.push_back(error.what());
    }
    log_warning("the checkpoint of step {} cannot be used: {}{}", steps[i], reasons.back(),
                i > 0 ? fmt::format("; going back to that of step {}", steps[i - 1]) : "");
  }
  throw CheckpointError(fmt::format(
      "[checkpoint] none of the {} checkpoints in {} can be used:{}\nto start anew, choose another "
      "job.dump_folder or move them away",
      steps.size(), folder_.path().string(), as_lines(reasons)));
}

}  // namespace coeus
