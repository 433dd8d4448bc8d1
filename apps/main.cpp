// coeus: one binary, one subcommand per job.
#include <c10/util/Exception.h>
#include <fmt/core.h>

#include <algorithm>
#include <exception>
#include <new>
#include <string_view>

#include "coeus/base/error.h"
#include "coeus/base/floating_point.h"
#include "coeus/base/log.h"
#include "commands.h"

namespace {

using namespace coeus;

/// Drops the "--" of `coeus launch -n 2 -- train …`: what follows is launch's command without it
/// too, and CLI11 would take it for positional arguments, of which launch has none.
int without_separator(int argc, char** argv) {
  if (argc < 2 || argv[1] != std::string_view("launch")) return argc;
  char** const end = argv + argc;
  char** const separator = std::find(argv, end, std::string_view("--"));
  if (separator == end) return argc;
  std::copy(separator + 1, end, separator);
  return argc - 1;
}

ExitCode run(int argc, char** argv) {
  CLI::App program{
      "coeus trains large language models: TorchTitan's configuration and losses, in C++.\n"
      "Examples:\n"
      "  coeus train configs/llama3/debug_model.toml --training.steps=100\n"
      "  coeus config configs/llama3/8b.toml --model-summary\n"
      "  coeus generate configs/llama3/debug_model.toml --prompt 'Once upon a time'",
      "coeus"};
  program.set_version_flag("--version", std::string("coeus ") + COEUS_VERSION);
  program.require_subcommand(1);
  Command chosen;
  add_train_command(program, chosen);
  add_launch_command(program, chosen);
  add_config_command(program, chosen);
  add_generate_command(program, chosen);
  add_score_command(program, chosen);
  add_tokenizer_command(program, chosen);
  add_compare_command(program, chosen);
  add_mask_command(program, chosen);
  add_convert_command(program, chosen);
  add_dataset_command(program, chosen);
  add_bench_command(program, chosen);
  try {
    program.parse(without_separator(argc, argv), argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? ExitCode::kDone : ExitCode::kConfiguration;
  }
  return chosen();
}

}  // namespace

int main(int argc, char** argv) {
  flush_denormals_to_zero();
  init_log();
  ExitCode code = ExitCode::kFailure;
  try {
    code = run(argc, argv);
  } catch (const Error& error) {
    log_error("{}", error.what());
    code = error.exit_code();
  } catch (const std::bad_alloc&) {
    log_error("out of memory: lower training.local_batch_size or training.seq_len");
    code = ExitCode::kOutOfMemory;
  } catch (const c10::Error& error) {
    log_error("{}", error.what_without_backtrace());
  } catch (const std::exception& error) {
    log_error("{}", error.what());
  }
  return static_cast<int>(code);
}
