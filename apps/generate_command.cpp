#include <iostream>
#include <memory>

#include "coeus/train/generate.h"
#include "coeus/train/job_config.h"
#include "coeus/train/tensor_memory.h"
#include "commands.h"

namespace coeus {

void add_generate_command(CLI::App& program, Command& chosen) {
  CLI::App* command = program.add_subcommand("generate", "Continue a text with a trained model");
  auto options = std::make_shared<GenerateOptions>();
  command->allow_extras();
  command->add_option("--prompt", options->prompt, "The text to continue");
  command->add_option("--max-new-tokens", options->max_new_tokens, "At most this many")
      ->capture_default_str();
  command
      ->add_option("--temperature", options->temperature,
                   "Divides the logits; 0 takes the likeliest token")
      ->capture_default_str();
  command->add_option("--top-k", options->top_k, "Draw among so many likeliest tokens; 0: all")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Of the draws")->capture_default_str();
  command->add_option("--checkpoint", options->checkpoint,
                      "Folder or safetensors file; otherwise the newest of job.dump_folder");
  command->footer(
      "CONFIG.toml [--section.key=value …]\n"
      "Examples:\n"
      "  coeus generate configs/fortunes.toml --job.dump_folder=outputs/run-1\n"
      "  coeus generate configs/llama3/debug_model.toml --checkpoint=model.safetensors \\\n"
      "      --prompt='Once upon a time' --temperature=0.8 --top-k=40 --seed=1");
  command->callback([command, options, &chosen] {
    chosen = [options, arguments = command->remaining()] {
      TensorMemory::install();
      generate(load_job_config(arguments), *options,
               [](const std::string& piece) { std::cout << piece << std::flush; });
      std::cout << std::endl;
      return ExitCode::kDone;
    };
  });
}

}  // namespace coeus
