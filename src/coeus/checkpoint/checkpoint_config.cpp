#include "coeus/checkpoint/checkpoint_config.h"

#include "coeus/base/config_schema.h"

namespace coeus {

void describe(CheckpointConfig& config, ConfigSection& section) {
  section.field("enable", config.enable, "Save and load checkpoints.");
  section.field("folder", config.folder, "Where they are kept, under job.dump_folder.");
  section.field("interval", config.interval, "Steps between two checkpoints.").at_least(1);
  section.field("initial_load_path", config.initial_load_path,
                "A checkpoint folder or a .safetensors file to start from, used when the run's own "
                "folder holds no checkpoint.");
  section.field("initial_load_model_only", config.initial_load_model_only,
                "Take only the model from initial_load_path, not the optimizer and the step.");
  section.field(
      "initial_load_in_hf", config.initial_load_in_hf,
      "initial_load_path has Hugging Face's parameter names; without one, the weights are "
      "those of model.hf_assets_path.");
  section.field(
      "initial_load_in_hf_quantized", config.initial_load_in_hf_quantized,
      "Those weights may be in 8 bits with a scale for each block, as DeepSeek-V3's are.");
  section.field("last_save_model_only", config.last_save_model_only,
                "The last checkpoint holds only the model, so the run cannot go on from it.");
  section.field("last_save_in_hf", config.last_save_in_hf,
                "The last checkpoint has Hugging Face's parameter names.");
  section
      .field(
          "export_dtype", config.export_dtype,
          "The type of the numbers in a last checkpoint that holds only the model; float32 leaves "
          "them as they are.")
      .one_of({"float32", "bfloat16", "float16"});
  section
      .field("async_mode", config.async_mode,
             "Whether training goes on while a checkpoint is written, from a copy in the host's "
             "memory, which async_with_pinned_mem page-locks for tensors of a GPU.")
      .one_of_any_case({"disabled", "async", "async_with_pinned_mem"});
  section
      .field("keep_latest_k", config.keep_latest_k,
             "How many checkpoints to keep; older ones are removed. 0 keeps all. 1 is refused: if "
             "the only one is damaged, nothing is left to go on from.")
      .at_least(0);
  section
      .field("load_step", config.load_step,
             "The step whose checkpoint is loaded; -1 for the latest.")
      .at_least(0)
      .or_value(-1);
  section
      .field("exclude_from_loading", config.exclude_from_loading,
             "What to leave as it is when a checkpoint is loaded.")
      .one_of({"model", "optimizer", "lr_scheduler", "dataloader", "train_state"});
  section.field("enable_first_step_checkpoint", config.enable_first_step_checkpoint,
                "Save one after the first step too, to see early whether saving works.");
  section.field("create_seed_checkpoint", config.create_seed_checkpoint,
                "Save the untrained model as step 0 and stop.");
  section.field("load_only", config.load_only, "Load a checkpoint, but save none.");
}

}  // namespace coeus
