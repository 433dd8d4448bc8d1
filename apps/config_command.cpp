// coeus config: what a configuration amounts to, without running it.
#include <fmt/core.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "coeus/base/config_report.h"
#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/parallel/pipeline/draw_schedule.h"
#include "coeus/train/config_reference.h"
#include "coeus/train/job_config.h"
#include "coeus/train/model_summary.h"
#include "coeus/train/pipeline_summary.h"
#include "commands.h"

namespace coeus {
namespace {

struct ConfigOptions {
  bool model_summary = false;
  bool reference = false;
  bool pipeline = false;
  std::string svg;
};

void print_pipeline(const PipelinePlan& plan, const std::string& svg_path) {
  fmt::print("{}", pipeline_summary(plan));
  if (svg_path.empty()) return;
  std::ofstream file(svg_path, std::ios::binary);
  file << draw_schedule_svg(plan.schedule);
  file.close();
  COEUS_CHECK(!file.fail(), "--svg {}: cannot be written", svg_path);
}

ExitCode run_config(const ConfigOptions& options, const std::vector<std::string>& args) {
  if (options.reference) {
    fmt::print("{}", config_reference());
    return ExitCode::kDone;
  }
  ConfigReport report;
  const JobConfig config = load_job_config(args, &report);
  for (const std::string& warning : report.warnings) log_warning("{}", warning);
  if (options.pipeline) {
    print_pipeline(plan_job_pipeline(config), options.svg);
    return ExitCode::kDone;
  }
  fmt::print("{}", options.model_summary ? model_summary(config) : print_config(config, report));
  return ExitCode::kDone;
}

}  // namespace

void add_config_command(CLI::App& program, Command& chosen) {
  auto options = std::make_shared<ConfigOptions>();
  CLI::App* command = program.add_subcommand(
      "config",
      "Print the whole configuration of CONFIG.toml and flags as TOML, and where each value came "
      "from.\n"
      "  coeus config CONFIG.toml [--section.key=value ...]");
  command->add_flag("--model-summary", options->model_summary,
                    "Print the model's parameters, FLOPs a token and memory instead");
  command->add_flag("--reference", options->reference,
                    "Print every key with its meaning instead, as in docs/configuration.md");
  auto* pipeline = command->add_flag(
      "--pipeline", options->pipeline,
      "Print the pipeline's stages and schedule instead, and how long ranks wait in it");
  command->add_option("--svg", options->svg, "With --pipeline: also draw the schedule into FILE")
      ->type_name("FILE")
      ->needs(pipeline);
  command->footer(
      "Examples:\n"
      "  coeus config configs/llama3/debug_model.toml --training.steps=100\n"
      "  coeus config configs/llama3/405b.toml --model-summary\n"
      "  coeus config configs/llama3/debug_model.toml --pipeline --svg pipeline.svg \\\n"
      "      --parallelism.pipeline_parallel_degree=4");
  command->allow_extras();
  command->callback([command, options, &chosen] {
    chosen = [args = command->remaining(), options] { return run_config(*options, args); };
  });
}

}  // namespace coeus
