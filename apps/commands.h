// The commands of the one binary: each adds its subcommand and says what to run when it is chosen.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "coeus/base/error.h"

namespace coeus {

/// What main runs once the command line is parsed: the chosen command with its arguments.
using Command = std::function<ExitCode()>;

/// Each adds `coeus NAME …` to `program` and, when it is parsed, sets `chosen`. Commands may throw:
/// main prints an Error's message and returns its exit code.
void add_train_command(CLI::App& program, Command& chosen);
void add_launch_command(CLI::App& program, Command& chosen);
void add_config_command(CLI::App& program, Command& chosen);
void add_tokenizer_command(CLI::App& program, Command& chosen);
void add_generate_command(CLI::App& program, Command& chosen);
void add_score_command(CLI::App& program, Command& chosen);
void add_compare_command(CLI::App& program, Command& chosen);
void add_mask_command(CLI::App& program, Command& chosen);
void add_convert_command(CLI::App& program, Command& chosen);
void add_dataset_command(CLI::App& program, Command& chosen);
void add_bench_command(CLI::App& program, Command& chosen);

}  // namespace coeus
