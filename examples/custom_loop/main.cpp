// Somebody else's training loop over coeus's parts: train() is the loop, and nothing in it is
// hidden in a trainer. Batches have another number of rows, of another length, at every step.
#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/base/floating_point.h"
#include "coeus/base/log.h"
#include "coeus/base/random.h"
#include "coeus/comm/launcher/launcher.h"
#include "coeus/data/batch.h"
#include "coeus/mask/sequence_layout.h"
#include "coeus/models/model_part.h"
#include "coeus/optim/gradient_norm.h"
#include "coeus/optim/optimizer.h"
#include "coeus/parallel/context/context_attention.h"
#include "coeus/parallel/context/context_batch.h"
#include "coeus/parallel/pipeline/make_schedule.h"
#include "coeus/parallel/pipeline/runtime.h"
#include "coeus/parallel/pipeline/stage_split.h"
#include "coeus/train/batch_tensors.h"
#include "coeus/train/job_ranks.h"

namespace {

using namespace coeus;

constexpr int64_t kLongestRow = 320;
constexpr int64_t kTokens = 64;  // that documents are made of, fewer than the model knows
constexpr double kLearningRate = 1e-3;
constexpr double kMaxNorm = 1.0;

struct Arguments {
  int64_t ranks = 1;
  int64_t cp = 1;
  int64_t pp = 1;
  int64_t steps = 6;
  std::string csv = "losses.csv";
};

/// "--name=value" for each member of Arguments.
Arguments parse(int argc, char** argv) {
  Arguments arguments;
  const std::map<std::string, int64_t*> numbers = {{"--ranks", &arguments.ranks},
                                                   {"--cp", &arguments.cp},
                                                   {"--pp", &arguments.pp},
                                                   {"--steps", &arguments.steps}};
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const std::string name = argument.substr(0, argument.find('='));
    const std::string value = argument.substr(std::min(argument.size(), name.size() + 1));
    if (name == "--csv") {
      arguments.csv = value;
      continue;
    }
    const auto found = numbers.find(name);
    const char* end = value.data() + value.size();
    COEUS_CHECK_CONFIG(found != numbers.end() &&
                           std::from_chars(value.data(), end, *found->second).ptr == end &&
                           !value.empty() && *found->second >= 1,
                       "{}: give --ranks=N --cp=N --pp=N --steps=N --csv=FILE", argument);
  }
  return arguments;
}

/// The batch of a step, the same on every rank: rows packed of documents, each of which counts from
/// somewhere in steps of some size. Its masks are not lowered yet.
Batch make_batch(int64_t step) {
  constexpr struct {
    int64_t rows, seq_len;
  } kShapes[] = {{3, 97}, {2, 256}, {5, 64}, {1, 301}, {4, 128}};
  const auto& shape = kShapes[(step - 1) % std::size(kShapes)];
  const CounterRandom random(/*seed=*/7, fmt::format("step {}", step));
  uint64_t draws = 0;
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random.bits(draws++) % n); };

  Batch batch = {.batch_size = shape.rows, .seq_len = shape.seq_len, .row_length = shape.seq_len};
  for (int64_t row = 0; row < shape.rows; ++row) {
    std::vector<int64_t> lengths;
    for (int64_t left = shape.seq_len; left > 0; left -= lengths.back()) {
      lengths.push_back(std::min(left, 1 + below(100)));
      const int64_t first = below(kTokens), stride = 1 + below(4);
      for (int64_t i = 0; i < lengths.back(); ++i) {
        const bool is_last = i + 1 == lengths.back();
        batch.tokens.push_back(static_cast<int32_t>((first + i * stride) % kTokens));
        batch.labels.push_back(
            is_last ? kIgnoredLabel : static_cast<int32_t>((first + (i + 1) * stride) % kTokens));
        batch.valid_labels += is_last ? 0 : 1;
      }
    }
    batch.documents += static_cast<int64_t>(lengths.size());
    batch.layouts.push_back(SequenceLayout::from_document_lengths(lengths));
    // RoPE's positions start anew in each document.
    const std::vector<int32_t>& offsets = batch.layouts.back().query()->offset;
    batch.positions.insert(batch.positions.end(), offsets.begin(), offsets.end());
  }
  return batch;
}

ModelOptions model_options(const at::Device& device) {
  return {.name = "llama3",
          .flavor = "debugmodel",
          .seq_len = kLongestRow,
          // Any mask will do, and so will several in a model that has them.
          .mask = "causal & document & (sliding_window(48) | sink(4))",
          .tensors = at::TensorOptions().device(device).dtype(at::kFloat)};
}

/// This rank's stage of the model, with its slices of the parameters.
std::unique_ptr<ModelPart> make_part(const Model& whole, const ParallelGroups& groups) {
  const int64_t stages = groups.pipeline->size();
  PartOptions options;
  options.model = model_options(at::kCPU);
  options.modules = split_into_stages(whole.pipeline_modules(), stages, /*input_weight=*/1,
                                      /*output_weight=*/1)[groups.mesh.pp()];
  options.fsdp = {.reshard_after_forward = false, .in_pipeline = true};
  auto part = std::make_unique<ModelPart>(options, groups);
  part->init_weights(/*seed=*/1);
  return part;
}

/// A pipeline holds no weights, only a schedule for so many micro-batches of one row: a batch of
/// another size gets another one.
PipelineRuntime make_pipeline(ModelPart& part, const ParallelGroups& groups, const Batch& batch,
                              int64_t hidden_size) {
  const StageForward forward = [&part](const at::Tensor& input, const at::Tensor& positions,
                                       const AttentionMasks& masks) {
    return part.model().forward_part(input, positions, masks);
  };
  PipelineOptions options = {.hidden_size = hidden_size};
  options.hooks.before_layers = [&part, seq_len = batch.seq_len](int64_t) {
    part.begin_pass(seq_len, /*last=*/false);
  };
  // Gradients are summed over ranks once a step, when those of the last micro-batch are there.
  options.hooks.gradients_complete = [&part, seq_len = batch.seq_len](int64_t) {
    part.begin_pass(seq_len, /*last=*/true);
    part.end_pass();
  };
  return {make_schedule("1F1B", groups.pipeline->size(), /*stages_per_rank=*/1, batch.batch_size),
          {{groups.mesh.pp(), forward}},
          make_group_transport(groups.pipeline),
          options};
}

/// Over all ranks, of gradients that each has some of; they are scaled down to kMaxNorm.
double clip_to_norm(const Optimizer& optimizer, const ModelPart& part,
                    const ParallelGroups& groups) {
  std::vector<int64_t> copies;
  for (const ShardedParameter& parameter : part.parameters()) copies.push_back(parameter.copies);
  const at::Tensor squares = squared_gradient_norm(gradient_norms(optimizer.parameters()),
                                                   at::tensor(copies, at::kDouble));
  const at::Tensor norm = groups.world->all_reduce(squares, "gradient norm").sqrt();
  clip_gradients(optimizer.parameters(), kMaxNorm, norm);
  return norm.item<double>();
}

/// How a batch's rows are spread over the ranks of context parallelism: as evenly, in work under
/// the model's masks, as the balancer "joint" can.
ContextRowPlanner make_planner(const std::shared_ptr<const Model>& whole, const Mesh& mesh) {
  const Model::AttentionShape shape = whole->attention_shape();
  ContextOptions options = {.ranks = mesh.degrees().cp, .rank = mesh.cp()};
  options.cost = {.heads = shape.heads,
                  .kv_heads = shape.kv_heads,
                  .key_dim = shape.key_dim,
                  .value_dim = shape.value_dim};
  const auto lower = [whole](std::span<const SequenceLayout> rows) {
    return whole->get_attention_masks(rows);
  };
  return {options, lower, whole->layers_by_mask()};
}

Optimizer make_optimizer(const ModelPart& part) {
  std::vector<std::pair<std::string, at::Tensor>> parameters;
  for (const ShardedParameter& parameter : part.parameters())
    parameters.emplace_back(parameter.name, parameter.tensor);
  return {OptimizerConfig{}, std::move(parameters)};
}

/// Where rank 0 writes what `coeus compare` reads; the others write nothing.
std::ofstream open_csv(const std::string& path, const Mesh& mesh) {
  std::ofstream csv;
  if (mesh.rank() > 0) return csv;
  csv.open(path);
  COEUS_CHECK_CONFIG(csv.is_open(), "--csv={}: cannot be written", path);
  csv << "step,loss,grad_norm,rows,row_length\n";
  return csv;
}

void train(const Arguments& arguments, JobRanks& ranks) {
  const ParallelGroups& groups = ranks.groups();
  // Without memory for parameters: to ask about the model, whichever part of it this rank has.
  const std::shared_ptr<Model> whole = build_model(model_options(at::kMeta));
  const ContextRowPlanner planner = make_planner(whole, groups.mesh);
  const std::unique_ptr<ModelPart> part = make_part(*whole, groups);
  Optimizer optimizer = make_optimizer(*part);
  std::ofstream csv = open_csv(arguments.csv, groups.mesh);

  for (int64_t step = 1; step <= arguments.steps; ++step) {
    ranks.log().set_step(step);
    Batch batch = make_batch(step);
    if (groups.context->size() == 1) {
      batch.masks = whole->get_attention_masks(batch.layouts);
    } else {
      const ContextRows rows = planner.plan(batch.layouts);
      check_same_plan(rows.hash(), *groups.context);
      // Leaves this rank's tokens of every row; attributes, positions and masks go with them.
      shard_batch(batch, rows, planner);
    }

    optimizer.zero_grad();
    part->model().begin_step(batch.batch_size);
    const BatchTensors tensors = batch_tensors(batch);
    const auto divisor = static_cast<double>(batch.valid_labels);
    PipelineRuntime pipeline = make_pipeline(*part, groups, batch, whole->hidden_size());
    at::Tensor sum = pipeline.run({tensors.tokens, tensors.labels, tensors.positions, batch.masks},
                                  [&](const at::Tensor& normed, const at::Tensor& labels) {
                                    return part->model().loss_of(normed, labels) / divisor;
                                  });
    // A rank has the labels of its tokens alone, and none but the last stage has any.
    for (const ParallelGroups::Group& group : {groups.loss, groups.pipeline})
      sum = group->all_reduce(sum.to(at::kDouble), "loss");
    const auto loss = sum.item<double>();

    const double grad_norm = clip_to_norm(optimizer, *part, groups);
    part->model().before_optimizer_step();
    optimizer.step(kLearningRate);
    log_info("step {}: {} rows of {} tokens ({} here), {} documents, loss {:.5f}, grad_norm {:.4f}",
             step, batch.batch_size, batch.row_length, batch.seq_len, batch.documents, loss,
             grad_norm);
    csv << fmt::format("{},{},{},{},{}\n", step, loss, grad_norm, batch.batch_size,
                       batch.row_length);
  }
}

/// Starts this program anew as each of the ranks, as `coeus launch` does.
int launch_ranks(const Arguments& arguments, int argc, char** argv) {
  LaunchOptions options = {.ranks = arguments.ranks};
  options.command = {std::filesystem::read_symlink("/proc/self/exe")};
  options.command.insert(options.command.end(), argv + 1, argv + argc);
  return launch(options);
}

int run(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  // Who started this process, be it torchrun, mpirun or the function above, says which rank it is.
  const RankEnvironment environment = read_rank_environment();
  if (arguments.ranks > 1 && environment.world_size == 1)
    return launch_ranks(arguments, argc, argv);
  set_log_rank(environment.rank);
  JobConfig config;
  config.parallelism.data_parallel_shard_degree = 1;
  config.parallelism.pipeline_parallel_degree = arguments.pp;
  config.parallelism.context_parallel_degree = arguments.cp;
  JobRanks ranks(config, environment);
  ranks.run([&] { train(arguments, ranks); });
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  flush_denormals_to_zero();
  init_log();
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    log_error("{}", error.what());
    return static_cast<int>(error.exit_code());
  } catch (const std::exception& error) {
    log_error("{}", error.what());
    return 1;
  }
}
