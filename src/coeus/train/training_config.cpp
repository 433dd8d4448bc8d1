#include "coeus/train/training_config.h"

#include "coeus/base/config_schema.h"

namespace coeus {
namespace {

const std::vector<std::string> kDatasets = {"c4_test", "c4",       "c4_validation", "json",
                                            "text",    "fortunes", "synthetic",     "image_text",
                                            "cc12m",   "obelics"};

}  // namespace

void describe(MixtureEntryConfig& config, ConfigSection& section) {
  section.field("dataset", config.dataset, "As training.dataset.").one_of(kDatasets);
  section.field("path", config.path, "As training.dataset_path.");
  section.field("weight", config.weight, "Its share, relative to the other data sets'.")
      .more_than(0);
}

void describe(TrainingConfig& config, ConfigSection& section) {
  section
      .field("dataset", config.dataset,
             "What to train on: json (lines with a text each), text, fortunes, synthetic, or "
             "image_text (lines with a text and images); TorchTitan's c4, c4_test and "
             "c4_validation are read as json, its cc12m and obelics as image_text.")
      .one_of(kDatasets);
  section.field("dataset_path", config.dataset_path, "The file or folder of the data set.");
  section
      .field("local_batch_size", config.local_batch_size,
             "Rows of one forward and backward pass on one rank.")
      .at_least(1);
  section
      .field("global_batch_size", config.global_batch_size,
             "Rows of one step; more than one pass of all ranks accumulates gradients. -1 for one "
             "pass.")
      .at_least(1)
      .or_value(-1);
  section.field("seq_len", config.seq_len, "Tokens of a row.").at_least(1);
  section
      .field("max_norm", config.max_norm,
             "Gradients with a larger norm are scaled down to this; inf for never.")
      .more_than(0)
      .may_be_infinite();
  section.field("steps", config.steps, "Steps to train.").at_least(1);
  section
      .field("enable_cpu_offload", config.enable_cpu_offload,
             "Keep parameters, gradients and optimizer states in the host's memory.")
      .no_effect("on a CPU they are there already");
  section
      .field("dtype", config.dtype,
             "Type of parameters, gradients and optimizer states. bfloat16 keeps no float32 copy.")
      .one_of({"float32", "bfloat16"});
  section
      .field("mixed_precision_param", config.mixed_precision_param,
             "Type that the forward and backward passes compute in; it holds in every layout.")
      .one_of({"bfloat16", "float32"});
  section
      .field("mixed_precision_reduce", config.mixed_precision_reduce,
             "Type that gradients are summed over ranks in.")
      .one_of({"float32"});
  section.field("gc_freq", config.gc_freq, "Steps between two runs of Python's garbage collector.")
      .at_least(1)
      .no_effect("there is no garbage collector");
  section.field("gc_debug", config.gc_debug, "Let Python's collector look for reference cycles.");
  section.field("seed", config.seed, "Seed of the initial weights and of shuffling; None takes 0.")
      .at_least(0);
  section.field("deterministic", config.deterministic,
                "Use only algorithms that give the same bits in every run.");
  section.field("debug_moe_force_load_balance", config.debug_moe_force_load_balance,
                "Deal tokens to experts in turn, whatever the router says.");
  section
      .field("loss_chunk_size", config.loss_chunk_size,
             "Tokens whose logits the loss makes at a time, and lets go: memory for a GPU's large "
             "vocabulary; 0 makes all at once. Own key.")
      .at_least(0);
  section
      .field("positions", config.positions,
             "What RoPE counts from: the row's start, or each document's. Own key.")
      .one_of({"sequence", "document"});
  section.field("shuffle", config.shuffle, "Shuffle the samples by training.seed. Own key.");
  section.tables("mixture", config.mixture,
                 "Several data sets in place of training.dataset, each a table with dataset, path "
                 "and weight. Own key.");
}

void describe(ValidationConfig& config, ConfigSection& section) {
  section.field("enable", config.enable, "Compute the loss on a second data set now and then.");
  section.field("dataset", config.dataset, "As training.dataset.").one_of(kDatasets);
  section.field("dataset_path", config.dataset_path, "The file or folder of the data set.");
  section
      .field("local_batch_size", config.local_batch_size, "Rows of one forward pass on one rank.")
      .at_least(1);
  section.field("seq_len", config.seq_len, "Tokens of a row.").at_least(1);
  section.field("freq", config.freq, "Steps between two validations; one follows step 1 too.")
      .at_least(1);
  section
      .field("steps", config.steps, "Batches of one validation; -1 for the whole data set, once.")
      .at_least(1)
      .or_value(-1);
}

}  // namespace coeus
