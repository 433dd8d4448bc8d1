// The whole configuration of a run: every component's section, read from a TOML file and flags.
// This is the only place that sees all of them.
#pragma once

#include <string>
#include <vector>

#include "coeus/checkpoint/checkpoint_config.h"
#include "coeus/nn/moe/moe_config.h"
#include "coeus/ops/attention_config.h"
#include "coeus/optim/optimizer_config.h"
#include "coeus/parallel/activation_checkpoint_config.h"
#include "coeus/parallel/parallelism_config.h"
#include "coeus/train/image_data_config.h"
#include "coeus/train/model_config.h"
#include "coeus/train/run_config.h"
#include "coeus/train/service_config.h"
#include "coeus/train/training_config.h"

namespace coeus {

struct ConfigReport;
class ConfigSchema;

/// Every section of a job; the member names are the names of the sections. A default-made one holds
/// the defaults.
struct JobConfig {
  JobSection job;
  ProfilingConfig profiling;
  MetricsConfig metrics;
  ModelConfig model;
  OptimizerConfig optimizer;
  LrSchedulerConfig lr_scheduler;
  TrainingConfig training;
  ImageDataConfig data;
  ParallelismConfig parallelism;
  CheckpointConfig checkpoint;
  ActivationCheckpointConfig activation_checkpoint;
  AttentionConfig attention;
  MoEConfig moe;
  CompileConfig compile;
  QuantizeConfig quantize;
  CommConfig comm;
  MemoryEstimationConfig memory_estimation;
  FaultToleranceConfig fault_tolerance;
  ExperimentalConfig experimental;
  ValidationConfig validation;
  bool operator==(const JobConfig&) const = default;
};

/// Reads what follows `coeus train`: a TOML file (as the only argument that is no flag, or by
/// --job.config_file) and flags, which win over the file: `--section.key value`,
/// `--section.key=value`, `--section.flag`, `--section.no_flag`.
/// Throws ConfigError that lists every mistake found with its file and line or flag: TOML that does
/// not parse, unknown keys (with the nearest right one), wrong types, values out of range, values
/// that contradict each other, and TorchTitan's features that coeus lacks.
/// `report` receives where each value came from and the warnings; without it they are logged.
JobConfig load_job_config(const std::vector<std::string>& args, ConfigReport* report = nullptr);

/// What a training run needs beyond a well-formed configuration: the paths of its data sets.
/// Throws ConfigError.
void check_training_inputs(const JobConfig& config);

/// The configuration as a TOML file that gives the same configuration again, each value with a
/// comment that says where it came from.
std::string print_config(const JobConfig& config, const ConfigReport& report);

/// Names all sections to the reader; `config` must outlive `schema`.
void describe(JobConfig& config, ConfigSchema& schema);

}  // namespace coeus
