#include "coeus/base/log.h"
#include "coeus/train/job_config.h"
#include "coeus/train/tensor_memory.h"
#include "coeus/train/trainer.h"
#include "commands.h"

namespace coeus {

void add_train_command(CLI::App& program, Command& chosen) {
  CLI::App* command = program.add_subcommand("train", "Train a model as a TOML file says");
  command->prefix_command();
  command->footer(
      "CONFIG.toml [--section.key=value …]\n"
      "Every key of docs/configuration.md is a flag; flags win over the file.\n"
      "Examples:\n"
      "  coeus train configs/llama3/debug_model.toml --training.dataset=synthetic\n"
      "  coeus train configs/llama3/debug_model.toml --training.dataset=json \\\n"
      "      --training.dataset_path=my_texts.jsonl --model.hf_assets_path=my_tokenizer\n"
      "  coeus train configs/llama3/debug_model_flex_attn.toml --checkpoint.enable \\\n"
      "      --training.steps=1000 --job.dump_folder=outputs/first");
  command->callback([command, &chosen] {
    chosen = [arguments = command->remaining()] {
      const JobConfig config = load_job_config(arguments);
      check_training_inputs(config);
      if (config.metrics.disable_color_printing) init_log(/*color=*/false);
      TensorMemory::install();
      const RankEnvironment environment = read_rank_environment();
      set_log_rank(environment.rank);
      JobRanks ranks(config, environment);
      ranks.run([&] { Trainer(config, ranks).train(); });
      return ExitCode::kDone;
    };
  });
}

}  // namespace coeus
