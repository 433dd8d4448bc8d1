// coeus score: how probable a model finds given tokens.
#include <fmt/core.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "coeus/train/job_config.h"
#include "coeus/train/score.h"
#include "coeus/train/tensor_memory.h"
#include "commands.h"

namespace coeus {

namespace {

void print_summary(const ScoreSummary& summary, std::FILE* out) {
  fmt::print(out, "scored {} tokens of {} lines", summary.tokens, summary.lines);
  if (summary.tokens == 0) {
    fmt::print(out, ": none has a token before it\n");
    return;
  }
  fmt::print(out, ": loss {:.6f}, perplexity {:.6g}\n", summary.loss, std::exp(summary.loss));
  if (summary.tokens_within_documents == summary.tokens) return;
  fmt::print(out, "without the {} first tokens of later documents: ",
             summary.tokens - summary.tokens_within_documents);
  if (summary.tokens_within_documents == 0)
    fmt::print(out, "nothing\n");
  else
    fmt::print(out, "loss {:.6f}, perplexity {:.6g}\n", summary.loss_within_documents,
               std::exp(summary.loss_within_documents));
}

}  // namespace

void add_score_command(CLI::App& program, Command& chosen) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* command = program.add_subcommand(
      "score",
      "Write the natural-log probability that a model gives to each token after the first.\n"
      "A line of the input is {\"tokens\": [ids]} or {\"text\": \"…\"}, with \"documents\": "
      "[lengths] where several are packed in it; its line of the output is {\"logprobs\": […]}. "
      "Loss and perplexity come at the end. The weights are those of "
      "checkpoint.initial_load_path: a checkpoint, safetensors, or a Hugging Face folder.");
  command->allow_extras();
  command->add_option("--input", options->input, "A file of JSON lines; - for standard input")
      ->required();
  command->add_option("--output", options->output, "The file to write; - for standard output")
      ->required();
  command
      ->add_option("--precision", options->precision,
                   "Of matrix products: float32, or bfloat16 as training computes by default")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  command->footer(
      "CONFIG.toml [--section.key=value …]\n"
      "Examples:\n"
      "  coeus score configs/llama3/debug_model.toml --input rows.jsonl --output scores.jsonl \\\n"
      "      --checkpoint.initial_load_path=outputs/checkpoint/step-1000\n"
      "  coeus score --model.name=qwen3 --model.flavor=from_hf --model.hf_assets_path=Qwen3-0.6B "
      "\\\n"
      "      --input texts.jsonl --output -");
  command->callback([command, options, &chosen] {
    // First, so that a flag of the user's wins: weights may be named without checkpoint.enable,
    // which is about training, and so is keep_latest_k.
    std::vector<std::string> arguments = {"--checkpoint.enable=true",
                                          "--checkpoint.keep_latest_k=0"};
    for (const std::string& argument : command->remaining()) arguments.push_back(argument);
    chosen = [options, arguments] {
      TensorMemory::install();
      const ScoreSummary summary = score(load_job_config(arguments), *options);
      print_summary(summary, options->output == "-" ? stderr : stdout);
      return ExitCode::kDone;
    };
  });
}

}  // namespace coeus
