#include "coeus/train/job_config.h"

#include <fmt/format.h>

#include "coeus/base/config_file.h"
#include "coeus/base/config_flags.h"
#include "coeus/base/config_print.h"
#include "coeus/base/config_report.h"
#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/train/job_rules.h"

namespace coeus {
namespace {

constexpr const char* kConfigFileKey = "job.config_file";

template <class Section>
void describe_section(Section& config, ConfigSchema& schema, const char* name) {
  ConfigSection section = schema.section(name);
  describe(config, section);
}

/// The file that the arguments name; empty for none.
std::string find_config_file(const ConfigArguments& arguments, ConfigMistakes& mistakes) {
  std::string file;
  for (const ConfigFlag& flag : arguments.flags)
    if (flag.key == kConfigFileKey) file = flag.text;
  for (const std::string& other : arguments.others) {
    if (other.starts_with('-'))
      mistakes.push_back(fmt::format("{}: unknown flag; flags are --section.key", other));
    else if (file.empty())
      file = other;
    else if (other != file)
      mistakes.push_back(
          fmt::format("{}: unexpected argument, for the configuration file is {}; a "
                      "value belongs to a flag: --section.key=value",
                      other, file));
  }
  return file;
}

void check_path(const std::string& place, const std::string& dataset,
                const std::optional<std::string>& path, const std::string& path_key,
                ConfigMistakes& mistakes) {
  if (path || dataset == "fortunes" || dataset == "synthetic") return;
  mistakes.push_back(fmt::format(
      "{} = \"{}\": needs {}, a {} or a folder of such files; or use \"fortunes\" or \"synthetic\"",
      place, dataset, path_key,
      dataset == "text" ? "text file" : "file of JSON lines (with a \"text\" each)"));
}

}  // namespace

void describe(JobConfig& config, ConfigSchema& schema) {
  describe_section(config.job, schema, "job");
  describe_section(config.profiling, schema, "profiling");
  describe_section(config.metrics, schema, "metrics");
  describe_section(config.model, schema, "model");
  describe_section(config.attention, schema, "attention");
  describe_section(config.moe, schema, "moe");
  describe_section(config.optimizer, schema, "optimizer");
  describe_section(config.lr_scheduler, schema, "lr_scheduler");
  describe_section(config.training, schema, "training");
  describe_section(config.data, schema, "data");
  describe_section(config.validation, schema, "validation");
  describe_section(config.parallelism, schema, "parallelism");
  describe_section(config.checkpoint, schema, "checkpoint");
  describe_section(config.activation_checkpoint, schema, "activation_checkpoint");
  describe_section(config.compile, schema, "compile");
  describe_section(config.quantize, schema, "quantize");
  describe_section(config.comm, schema, "comm");
  describe_section(config.memory_estimation, schema, "memory_estimation");
  describe_section(config.fault_tolerance, schema, "fault_tolerance");
  describe_section(config.experimental, schema, "experimental");
}

JobConfig load_job_config(const std::vector<std::string>& args, ConfigReport* report) {
  JobConfig config;
  ConfigSchema schema;
  describe(config, schema);
  ConfigMistakes mistakes;
  ConfigReport found;

  const ConfigArguments arguments = parse_config_arguments(schema, args, mistakes);
  found.file = find_config_file(arguments, mistakes);
  if (!found.file.empty()) read_config_file(schema, found.file, mistakes);
  read_config_flags(schema, arguments.flags, mistakes);
  for (const ConfigField& field : schema.fields())
    if (field.source.kind != ConfigSource::Kind::kDefault)
      found.sources[field.key()] = field.source;

  const bool values_are_right = mistakes.empty();
  replace_deprecated_keys(config, found, mistakes);
  refuse_unsupported_features(config, found, mistakes);
  // A value that was refused left its default behind, which may contradict others for no reason.
  if (values_are_right) check_together(config, found, mistakes);
  COEUS_CHECK_CONFIG(mistakes.empty(), "{}", join_mistakes(mistakes));

  if (!found.file.empty()) config.job.config_file = found.file;
  if (report != nullptr)
    *report = std::move(found);
  else
    for (const std::string& warning : found.warnings) log_warning("{}", warning);
  return config;
}

void check_training_inputs(const JobConfig& config) {
  ConfigMistakes mistakes;
  const TrainingConfig& training = config.training;
  if (training.mixture.empty())
    check_path("training.dataset", training.dataset, training.dataset_path, "training.dataset_path",
               mistakes);
  for (std::size_t i = 0; i < training.mixture.size(); ++i)
    check_path(fmt::format("training.mixture[{}].dataset", i), training.mixture[i].dataset,
               training.mixture[i].path, "its path", mistakes);
  if (config.validation.enable)
    check_path("validation.dataset", config.validation.dataset, config.validation.dataset_path,
               "validation.dataset_path", mistakes);
  COEUS_CHECK_CONFIG(mistakes.empty(), "{}", join_mistakes(mistakes));
}

std::string print_config(const JobConfig& config, const ConfigReport& report) {
  JobConfig printed = config;
  // A file does not name itself: read again, this one would.
  printed.job.config_file.reset();
  ConfigSchema schema;
  describe(printed, schema);
  for (ConfigField& field : schema.fields())
    if (field.key() != kConfigFileKey) field.source = report.source_of(field.key());
  return fmt::format("# The whole configuration{}{}.\n\n{}", report.file.empty() ? "" : " of ",
                     report.file, print_effective_toml(schema));
}

}  // namespace coeus
