#include "coeus/train/trainer.h"

#include <torch/types.h>

#include <algorithm>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/data/images/patchify.h"
#include "coeus/ops/cuda_library.h"
#include "coeus/optim/gradient_norm.h"
#include "coeus/parallel/context/context_attention.h"
#include "coeus/train/attention_log.h"
#include "coeus/train/context_plan_log.h"
#include "coeus/train/data_source.h"
#include "coeus/train/finish_batches.h"
#include "coeus/train/job_model.h"
#include "coeus/train/memory_estimate.h"
#include "coeus/train/metrics/communication_table.h"
#include "coeus/train/metrics/device_memory.h"
#include "coeus/train/metrics/peak_flops.h"
#include "coeus/train/metrics/run_folder.h"
#include "coeus/train/non_finite.h"
#include "coeus/train/stored_slices.h"
#include "coeus/train/sum_over_ranks.h"
#include "coeus/train/tensor_memory.h"

namespace coeus {

namespace {

int64_t accumulation_steps(const TrainingConfig& training, const Mesh& mesh) {
  const int64_t pass = training.local_batch_size * mesh.data_ranks();
  const int64_t global = training.global_batch_size < 0 ? pass : training.global_batch_size;
  COEUS_CHECK_CONFIG(global % pass == 0,
                     "training.global_batch_size = {}: must be a multiple of "
                     "training.local_batch_size x data-parallel ranks = {} x {} = {}",
                     global, training.local_batch_size, mesh.data_ranks(), pass);
  return global / pass;
}

/// Images are cut into patches by the data's settings and multiplied by the model's weights.
void check_patch_size(const JobConfig& config, const Model& model) {
  const int64_t size = config.data.patch_size;
  COEUS_CHECK_CONFIG(model.patch_dim() == 0 || patch_dim_of(size) == model.patch_dim(),
                     "data.patch_size = {}: its patches hold {} numbers, but those of {} {} hold "
                     "{}; use its own patch size",
                     size, patch_dim_of(size), config.model.name, config.model.flavor,
                     model.patch_dim());
}

}  // namespace

Trainer::Trainer(const JobConfig& config, JobRanks& ranks, std::optional<Reading> reading)
    : config_(config),
      ranks_(ranks),
      groups_(ranks.groups()),
      device_(ranks.device()),
      reading_(reading.value_or(device_.is_cpu() ? Reading::kAtOnce : Reading::kLate)),
      learning_rate_(config.optimizer.lr, config.lr_scheduler, config.training.steps),
      gradient_accumulation_steps_(accumulation_steps(config.training, groups_.mesh)) {
  log_info("Starting job: {}", config.job.description);
  if (groups_.mesh.world() > 1) log_info("Building mesh: {}", groups_.mesh.to_string());
  const RankEnvironment& environment = ranks.environment();
  if (environment.rank == 0) make_run_folder(config.job.dump_folder);
  groups_.world->barrier("run folder");
  at::globalContext().setDeterministicAlgorithms(config.training.deterministic, false);
  // That would also fill all new memory, to show what is read before it is written: a debugging
  // aid.
  at::globalContext().setDeterministicFillUninitializedMemory(false);

  // Without storage first: what does not fit is refused before memory is taken.
  const std::shared_ptr<Model> plan = build_job_model(config, at::kMeta);
  check_fits(estimate_memory(*plan, static_cast<int64_t>(plan->blocks().size()), config,
                             groups_.mesh.degrees(), device_),
             capacity_bytes_of(device_) /
                 static_cast<double>(device_.is_cpu() ? environment.local_world_size : 1));

  check_patch_size(config, *plan);
  const auto tokenizer = load_tokenizer(config, plan->vocab_size());
  // In the loader's thread, which the model outlives.
  const FinishBatches finish = finish_batches(config, groups_.mesh, plan, device_);
  if (config.parallelism.show_context_parallel_plan && groups_.context->size() > 1)
    shown_planner_ = context_planner(config, groups_.mesh, plan);
  const DataRank data_rank = {groups_.mesh.data_rank(), groups_.mesh.data_ranks()};
  loader_ = make_training_loader(config, tokenizer, plan->vocab_size(), finish, data_rank,
                                 gradient_accumulation_steps_);

  log_info("Building {} {}", config.model.name, config.model.flavor);
  model_ = std::make_unique<ParallelModel>(config, groups_, *plan, device_);
  log_info("Model {} {} size: {} total parameters", config.model.name, config.model.flavor,
           with_thousands(static_cast<double>(parameter_count(*plan))));
  model_->report_attention(attention_report_);
  optimizer_ = std::make_unique<Optimizer>(config.optimizer, model_->parameters());
  copies_ = at::tensor(model_->copies(), at::kDouble).to(device_);
  checkpoint_ranks_ = std::make_unique<GroupRanks>(groups_);
  checkpointer_ = std::make_unique<Checkpointer>(config.checkpoint, config.job.dump_folder,
                                                 posix_file_system(), *checkpoint_ranks_);
  if (config.checkpoint.initial_load_in_hf || config.checkpoint.last_save_in_hf)
    checkpointer_->use_hugging_face(job_hugging_face_format(config), config.model.hf_assets_path);
  load_checkpoint();

  if (config.validation.enable)
    validator_ = std::make_unique<Validator>(
        config.validation,
        make_validation_loader(config, tokenizer, plan->vocab_size(), finish, data_rank), groups_);
  const std::string device_name =
      device_.is_cpu() ? "" : cuda_library().device_name(device_.index());
  if (!device_.is_cpu()) log_info("Training on {}, {}", device_.str(), device_name);
  metrics_ = std::make_unique<MetricsProcessor>(
      config.metrics,
      MetricsRun{.dump_folder = config.job.dump_folder,
                 .total_steps = config.training.steps,
                 .start_step = step_,
                 .flops_per_token = plan->flops_per_token(config.training.seq_len),
                 .peak_flops = device_.is_cpu() ? 0 : peak_flops_of(device_name),
                 .rank = static_cast<int>(environment.rank),
                 .n_ranks = static_cast<int>(environment.world_size),
                 .is_logging_rank = environment.rank == 0},
      device_.is_cpu() ? nullptr : std::make_unique<DeviceMemoryMonitor>(device_));
  profiler_ =
      std::make_unique<Profiler>(config.profiling, config.job.dump_folder, step_, environment.rank);
  model_->watch(*profiler_);
  log_info(
      "Trainer is initialized with local batch size {}, global batch size {}, gradient "
      "accumulation steps {}, sequence length {}, total steps {} (warmup {})",
      config.training.local_batch_size,
      config.training.local_batch_size * gradient_accumulation_steps_ * data_rank.ranks,
      gradient_accumulation_steps_, config.training.seq_len, config.training.steps,
      config.lr_scheduler.warmup_steps);
}

Trainer::~Trainer() = default;

void Trainer::train() {
  if (config_.checkpoint.create_seed_checkpoint) {
    checkpointer_->save(0, training_state(), /*last_step=*/true);
    log_info("Created seed checkpoint");
    return;
  }
  const StopSignal stop;
  first_step_ = step_ + 1;
  log_info("Training starts at step {}", first_step_);
  bool stopped = false;
  while (step_ < config_.training.steps && !stopped) {
    ++step_;
    ++lr_step_;
    ranks_.log().set_activity("training");
    StepUnderWay step = train_step();
    finish_step();
    under_way_ = std::move(step);
    const bool is_last = step_ == config_.training.steps;
    const bool saves = checkpointer_->should_save(step_, is_last);
    const bool validates = validator_ && validator_->should_validate(step_);
    if (reading_ == Reading::kAtOnce || saves || validates || is_last) finish_step();
    if (step_ == first_step_) report_memory();
    ranks_.log().set_activity("saving or validating");
    if (saves) save_checkpoint(is_last);
    stopped = stops(stop);
    if (validates && !stopped) validator_->validate(*model_, step_, *metrics_);
    profiler_->step();
  }
  finish_step();
  profiler_->finish();
  metrics_->close();
  const std::string communication = communication_table(ranks_.log(), step_ - first_step_ + 1);
  if (!communication.empty()) log_info("{}", communication);
  if (checks_attention()) log_info("{}", attention_check_table(attention_report_->layers()));
  if (stopped && step_ < config_.training.steps) {
    // Whole, so that the run can go on; if it cannot be saved, the run must not end as if it were.
    if (config_.checkpoint.enable && !config_.checkpoint.load_only && last_saved_step_ != step_)
      checkpointer_->save(step_, training_state());
    checkpointer_->wait();
    log_info("Training stopped by {} after step {}",
             stop.requested() ? stop.name() : "a signal to another rank", step_);
    return;
  }
  checkpointer_->wait();
  log_info("Training completed");
}

Trainer::StepUnderWay Trainer::train_step() {
  ranks_.log().set_step(step_);
  // On a CPU fresh memory costs more than zeros do; a GPU's allocator has it at hand.
  if (device_.is_cpu() || groups_.mesh.world() > 1)
    optimizer_->zero_grad();
  else
    optimizer_->release_grad();
  TensorMemory::reset_peak();
  StepUnderWay step = {.number = step_, .lr = learning_rate_.at_step(lr_step_)};
  take_micro_batches(step);
  const std::vector<Batch>& micro_batches = step.micro_batches;
  if (config_.model.show_masks && step_ == first_step_)
    log_info("{}", masks_text(micro_batches[0].masks));
  if (shown_planner_ && step_ == first_step_)
    log_info("{}", context_plan_text(*shown_planner_, micro_batches[0]));
  if (config_.parallelism.check_context_parallel_plan)
    for (const Batch& batch : micro_batches) check_same_plan(batch.plan_hash, *groups_.context);
  int64_t labels_of_rows = 0, own_labels = 0;
  for (const Batch& batch : micro_batches) {
    labels_of_rows += batch.valid_labels;
    own_labels += batch.own_labels();
  }

  const at::TensorOptions on_device = at::TensorOptions().device(device_);
  const at::Tensor valid_labels =
      groups_.data
          ->all_reduce(at::full({}, labels_of_rows, on_device.dtype(at::kLong)), "valid labels")
          .clamp_min(1);
  model_->begin_step(config_.training.local_batch_size * gradient_accumulation_steps_ *
                     groups_.mesh.data_ranks());
  // Over the whole global batch, so that every label weighs the same in whichever micro-batch.
  const at::Tensor divisor = valid_labels.to(at::kFloat);
  at::Tensor own_loss = at::zeros({}, on_device.dtype(at::kDouble));
  for (size_t i = 0; i < micro_batches.size(); ++i)
    own_loss += model_->forward_backward(micro_batches[i], divisor, i + 1 == micro_batches.size());
  const auto [loss, max_loss] = losses_over_ranks(own_loss, valid_labels, own_labels);
  if (step_ == first_step_)
    for (const std::string& line :
         engine_lines(attention_report_->layers(), micro_batches[0].masks))
      log_info("{}", line);

  // Whether the step is one to take is for the device to see: the host learns of it later.
  step.gradient_norms = gradient_norms(optimizer_->parameters());
  const at::Tensor grad_norm = gradient_norm_over_ranks(step.gradient_norms);
  const at::Tensor updates =
      optimizer_->admit(at::isfinite(loss).logical_and(at::isfinite(grad_norm)));
  model_->before_optimizer_step(updates);
  optimizer_->step(step.lr, clip_coefficient(config_.training.max_norm, grad_norm));
  step.numbers.emplace(at::stack({loss, max_loss, grad_norm.to(at::kDouble)}), /*timed=*/true);
  if (metrics_->should_log(step_)) step.metrics = step_metrics();
  return step;
}

void Trainer::finish_step() {
  if (!under_way_) return;
  const StepUnderWay step = std::move(*under_way_);
  under_way_.reset();
  const auto* const numbers = step.numbers->wait().const_data_ptr<double>();
  const double loss = numbers[0], max_loss = numbers[1], grad_norm = numbers[2];
  check_finite(step.number, loss, grad_norm, optimizer_->parameters(), step.gradient_norms,
               [&] { return find_bad_output(step.micro_batches); });
  for (size_t i = 0; i < step.micro_batches.size(); ++i)
    metrics_->add_batch(tokens_of(step.micro_batches[i]), step.data_wait_seconds[i]);
  if (step.metrics)
    metrics_->log({.step = step.number,
                   .loss = loss,
                   .max_loss = max_loss,
                   .grad_norm = grad_norm,
                   .lr = step.lr,
                   .n_tokens_seen = step.n_tokens_seen,
                   .done_at = step.numbers->done_at(),
                   .extra = step.metrics()});
  metrics_->progress(step.number, loss);
}

void Trainer::take_micro_batches(StepUnderWay& step) {
  for (int64_t i = 0; i < gradient_accumulation_steps_; ++i) {
    std::optional<Batch> batch = loader_->next();
    COEUS_ASSERT(batch.has_value());
    n_tokens_seen_ += tokens_of(*batch);
    step.data_wait_seconds.push_back(loader_->last_wait_seconds());
    step.micro_batches.push_back(std::move(*batch));
  }
  step.n_tokens_seen = n_tokens_seen_;
}

int64_t Trainer::tokens_of(const Batch& batch) const {
  return batch.batch_size * batch.row_length * groups_.mesh.data_ranks();
}

std::pair<at::Tensor, at::Tensor> Trainer::losses_over_ranks(const at::Tensor& own_loss,
                                                             const at::Tensor& valid_labels,
                                                             int64_t own_labels) {
  at::Tensor loss = own_loss;
  at::Tensor max_loss = own_loss * valid_labels.to(at::kDouble) /
                        static_cast<double>(std::max<int64_t>(own_labels, 1));
  // Of the pipeline's ranks the last stage's know.
  for (const ParallelGroups::Group& group : {groups_.loss, groups_.pipeline}) {
    loss = group->all_reduce(loss, "loss");
    max_loss = group->all_reduce(max_loss, "largest loss", ReduceOperation::kMax);
  }
  return {loss, max_loss};
}

at::Tensor Trainer::gradient_norm_over_ranks(const at::Tensor& gradient_norms) {
  const at::Tensor squares = squared_gradient_norm(gradient_norms, copies_);
  // Of float32, as the gradients are and as PyTorch clips.
  return groups_.world->all_reduce(squares, "gradient norm").sqrt().to(at::kFloat);
}

bool Trainer::stops(const StopSignal& stop) {
  return max_over(*groups_.world, stop.requested() ? 1.0 : 0.0, "stop signal") > 0;
}

std::string Trainer::find_bad_output(const std::vector<Batch>& micro_batches) {
  // To the end, whatever is found: every pass exchanges tensors with ranks that find other things.
  std::string first;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    const std::string found = model_->first_bad_output(micro_batches[i]);
    if (found.empty() || !first.empty()) continue;
    first = micro_batches.size() == 1 ? found : fmt::format("{} of micro-batch {}", found, i);
  }
  return first;
}

bool Trainer::checks_attention() const { return config_.attention.engine == "check"; }

std::function<Scalars()> Trainer::step_metrics() const {
  if (!checks_attention()) return model_->step_metrics();
  return [of_model = model_->step_metrics(),
          of_attention = attention_check_metrics(attention_report_->worst())] {
    Scalars all = of_model();
    all.insert(all.end(), of_attention.begin(), of_attention.end());
    return all;
  };
}

void Trainer::report_memory() const {
  if (!TensorMemory::is_installed() || !device_.is_cpu()) return;
  int64_t parameters = 0;
  for (const auto& [name, parameter] : optimizer_->parameters())
    parameters += static_cast<int64_t>(parameter.nbytes());
  const int64_t steady = 2 * parameters + optimizer_->bytes();
  const int64_t other = std::max<int64_t>(0, TensorMemory::current_bytes() - steady);
  log_info("{}",
           memory_table({{"parameters", parameters},
                         {"gradients", parameters},
                         {"optimizer", optimizer_->bytes()},
                         {"activations at their peak", TensorMemory::peak_bytes() - steady - other},
                         {"other tensors", other}}));
}

TrainingState Trainer::training_state() const {
  TrainingState state;
  state.model = model_->checkpoint_tensors();
  state.optimizer = optimizer_->state();
  if (groups_.mesh.world() > 1) {
    state.model_slices = model_->held_slices();
    state.optimizer_slices = optimizer_slices(state.optimizer, state.model_slices, groups_.mesh);
  }
  state.states = {{"lr_scheduler", {{"last_step", lr_step_}}},
                  {"dataloader", loader_->state()},
                  {"train_state", {{"step", step_}, {"n_tokens_seen", n_tokens_seen_}}}};
  return state;
}

void Trainer::load_checkpoint() {
  const auto seed = static_cast<uint64_t>(config_.training.seed.value_or(0));
  if (config_.checkpoint.create_seed_checkpoint) {
    COEUS_CHECK_CONFIG(
        !config_.checkpoint.load_only,
        "checkpoint.create_seed_checkpoint saves and checkpoint.load_only forbids it; "
        "drop one of them");
    model_->init_weights(seed);
    return;
  }
  const std::vector<std::string>& excluded = config_.checkpoint.exclude_from_loading;
  const bool draws_weights = std::find(excluded.begin(), excluded.end(), "model") != excluded.end();
  TrainingState state = training_state();
  const std::optional<LoadedCheckpoint> loaded = checkpointer_->load(state);
  // A checkpoint of the model alone is loaded whatever is excluded.
  if (!loaded || (draws_weights && !loaded->model_only)) model_->init_weights(seed);
  if (!loaded || loaded->model_only) return;
  step_ = state.states.at("train_state").at("step").get<int64_t>();
  n_tokens_seen_ = state.states.at("train_state").at("n_tokens_seen").get<int64_t>();
  lr_step_ = state.states.at("lr_scheduler").at("last_step").get<int64_t>();
  loader_->load_state(state.states.at("dataloader"));
}

void Trainer::save_checkpoint(bool last_step) {
  try {
    checkpointer_->save(step_, training_state(), last_step);
    last_saved_step_ = step_;
  } catch (const CheckpointSaveError& error) {
    // The run is worth more than one checkpoint, unless it was the last one to come.
    if (last_step) throw;
    log_error("{}; training goes on", error.what());
  }
}

void train_alone(const JobConfig& config) {
  JobRanks ranks(config);
  Trainer(config, ranks).train();
}

}  // namespace coeus
