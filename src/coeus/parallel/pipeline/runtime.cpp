#include "coeus/parallel/pipeline/runtime.h"

#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/types.h>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "coeus/base/error.h"
#include "coeus/nn/autocast.h"
#include "coeus/ops/weight_gradient_queue.h"
#include "coeus/parallel/pipeline/messages.h"

namespace coeus {

namespace {

using enum ActionKind;

/// Inputs that are started to be received before the one that is needed next, where that is wanted.
constexpr int64_t kAhead = 2;

/// CUDA loads a kernel at its first use, and memory as it is needed, and may wait for all that the
/// GPU does before it goes on: for ever, if that is an exchange with a rank that waits for this one
/// in turn. So the first batch's tensors travel by the host, during which nothing is under way that
/// could be waited for. By the second batch kernels and memory are there.
void first_by_host(StageTransport& transport, bool& has_run) {
  transport.go_by_host(!has_run);
  has_run = true;
}

/// Forward passes of every stage of every rank, stage by stage: right for any placement.
PipelineSchedule forward_only(const PipelineSchedule& schedule, int64_t micro_batches) {
  PipelineSchedule forward = {
      .name = "forward only", .stages = schedule.stages, .micro_batches = micro_batches};
  for (int64_t rank = 0; rank < schedule.rank_count(); ++rank) {
    forward.ranks.emplace_back();
    for (const int64_t stage : schedule.stages_of(rank))
      for (int64_t i = 0; i < micro_batches; ++i)
        forward.ranks.back().push_back({kForward, stage, i});
  }
  return forward;
}

/// Between a micro-batch's forward and backward pass in one stage.
struct InFlight {
  at::Tensor input;  ///< a leaf, whose gradient the stage before waits for
  /// Where backward begins. The output itself is not kept: nobody reads it any more.
  torch::autograd::Edge output;
  at::Tensor loss;  ///< in the last stage
  c10::intrusive_ptr<WeightGradientQueue> weight_gradients;
  Pending sent;  ///< the output
};

}  // namespace

/// One batch on its way through this rank.
class PipelineRuntime::Run {
 public:
  Run(const PipelineRuntime& runtime, const PipelineSchedule& schedule, const PipelineBatch& batch,
      const PipelineLoss* loss, const OutputObserver* observer)
      : schedule_(schedule),
        actions_(schedule.ranks[runtime.transport_->rank()]),
        rank_of_(schedule.rank_of_stage()),
        stages_(runtime.stages_),
        transport_(*runtime.transport_),
        options_(runtime.options_),
        loss_(loss),
        observer_(observer),
        hidden_seq_len_(options_.hidden_seq_len ? options_.hidden_seq_len(batch.tokens.size(1))
                                                : batch.tokens.size(1)),
        micro_batches_(cut_into_micro_batches(batch, options_.micro_batch_size)) {
    for (const Action& action : actions_) {
      if (action.kind == kForward) continue;
      if (action.kind == kWeightGradient) divided_.insert({action.stage, action.micro_batch});
      if (action.kind != kInputGradient) ++gradients_missing_[action.stage];
    }
    for (auto& [sender, inputs] : received_by(transport_.rank(), schedule_))
      not_started_[sender] = {inputs.begin(), inputs.end()};
  }

  at::Tensor execute() {
    for (size_t i = 0; i < actions_.size(); ++i) {
      receive_ahead(i);
      const Action& action = actions_[i];
      switch (action.kind) {
        case kForward:
          forward(action);
          break;
        case kBackward:
        case kInputGradient:
          backward(action);
          break;
        case kWeightGradient:
          weight_gradients(action);
          break;
      }
    }
    for (Pending& sent : sent_) sent.wait();
    return loss_sum_.defined()
               ? loss_sum_
               : at::zeros({}, micro_batches_[0].tokens.options().dtype(at::kFloat));
  }

 private:
  bool trains() const { return loss_ != nullptr; }

  /// Starts to receive what action `index` needs, and some of what those after it do.
  void receive_ahead(size_t index) {
    const size_t end = options_.receives_ahead ? actions_.size() : index + 1;
    int64_t ahead = kAhead;
    for (size_t i = index; i < end && ahead >= 0; ++i) {
      for (const StageInput& input : inputs_of(actions_[i], schedule_)) {
        const int64_t sender = rank_of_[input.is_gradient ? input.stage + 1 : input.stage - 1];
        if (sender == transport_.rank()) continue;
        auto& queue = not_started_[sender];
        // In the order of sending, so what is sent before it is started too.
        while (!receiving_.contains(input)) {
          COEUS_ASSERT(!queue.empty());
          const int64_t micro_batch = queue.front().micro_batch;
          const at::Tensor into =
              at::empty(hidden_shape(micro_batch),
                        micro_batches_[micro_batch].tokens.options().dtype(options_.hidden_dtype));
          receiving_[queue.front()] =
              transport_.receive(into, sender, tag_of(queue.front(), schedule_));
          queue.pop_front();
        }
        --ahead;
      }
    }
  }

  std::vector<int64_t> hidden_shape(int64_t micro_batch) const {
    return {micro_batches_[micro_batch].rows, hidden_seq_len_, options_.hidden_size};
  }

  at::Tensor take(const StageInput& input) {
    if (const auto own = handed_over_.find(input); own != handed_over_.end())
      return std::move(handed_over_.extract(own).mapped());
    const auto found = receiving_.find(input);
    COEUS_ASSERT(found != receiving_.end());
    at::Tensor x = found->second.wait();
    // It stays known as received, without its tensor.
    found->second = Pending();
    return x;
  }

  Pending give(const StageInput& output, const at::Tensor& x) {
    COEUS_CHECK(
        x.sizes() == hidden_shape(output.micro_batch) && x.scalar_type() == options_.hidden_dtype,
        "[pipeline] stage {} is to get {} {} for micro-batch {}, and there is {} {}", output.stage,
        c10::toString(options_.hidden_dtype), hidden_shape(output.micro_batch), output.micro_batch,
        c10::toString(x.scalar_type()), x.sizes());
    const int64_t receiver = rank_of_[output.stage];
    if (receiver != transport_.rank())
      return transport_.send(x.contiguous(), receiver, tag_of(output, schedule_));
    handed_over_[output] = x;
    return {};
  }

  const PipelineStage& stage(int64_t number) const {
    return *std::find_if(stages_.begin(), stages_.end(),
                         [&](const PipelineStage& stage) { return stage.number == number; });
  }

  void before_layers(const Action& action) const {
    if (options_.hooks.before_layers) options_.hooks.before_layers(action.stage);
  }

  void forward(const Action& action) {
    const MicroBatch& batch = micro_batches_[action.micro_batch];
    InFlight flight;
    if (action.stage == 0) {
      flight.input = batch.tokens;
    } else {
      flight.input = take({false, action.stage, action.micro_batch});
      if (trains()) flight.input.requires_grad_();
    }
    if (divided_.contains({action.stage, action.micro_batch}))
      flight.weight_gradients = c10::make_intrusive<WeightGradientQueue>();
    before_layers(action);
    at::Tensor out;
    {
      const nn::Autocast autocast(options_.autocast);
      const WeightGradientQueue::Scope scope(flight.weight_gradients);
      out = stage(action.stage).forward(flight.input, batch.positions, batch.masks);
      if (action.stage + 1 == schedule_.stages) {
        if (trains())
          flight.loss = (*loss_)(out, batch.labels);
        else
          (*observer_)(out, batch);
      }
    }
    if (action.stage + 1 < schedule_.stages) {
      flight.sent = give({false, action.stage + 1, action.micro_batch}, out.detach());
      if (trains()) flight.output = torch::autograd::impl::gradient_edge(out);
    } else if (trains()) {
      const at::Tensor loss = flight.loss.detach();
      loss_sum_ = loss_sum_.defined() ? loss_sum_ + loss : loss;
    }
    if (trains())
      in_flight_[{action.stage, action.micro_batch}] = std::move(flight);
    else if (flight.sent.is_started())
      sent_.push_back(std::move(flight.sent));
  }

  void backward(const Action& action) {
    InFlight& flight = in_flight_.at({action.stage, action.micro_batch});
    const bool defers = action.kind == kInputGradient;
    at::Tensor gradient;
    if (action.stage + 1 < schedule_.stages) {
      gradient = take({true, action.stage, action.micro_batch});
      // What has come back has been there: this does not wait.
      if (flight.sent.is_started()) flight.sent.wait();
    } else {
      gradient = at::ones_like(flight.loss);
      flight.output = torch::autograd::impl::gradient_edge(flight.loss);
    }
    if (options_.hooks.before_backward)
      options_.hooks.before_backward(action.stage,
                                     !defers && gradients_missing_[action.stage] == 1);
    before_layers(action);
    if (flight.weight_gradients) flight.weight_gradients->set_deferring(defers);
    torch::autograd::Engine::get_default_engine().execute({flight.output}, {gradient},
                                                          /*keep_graph=*/false,
                                                          /*create_graph=*/false,
                                                          /*accumulate_grad=*/true);
    if (action.stage > 0) {
      Pending sent = give({true, action.stage - 1, action.micro_batch}, flight.input.grad());
      if (sent.is_started()) sent_.push_back(std::move(sent));
    }
    if (defers) {
      InFlight left;
      left.weight_gradients = std::move(flight.weight_gradients);
      flight = std::move(left);
    } else {
      complete(action);
    }
  }

  void weight_gradients(const Action& action) {
    in_flight_.at({action.stage, action.micro_batch}).weight_gradients->compute();
    complete(action);
  }

  void complete(const Action& action) {
    in_flight_.erase({action.stage, action.micro_batch});
    if (--gradients_missing_[action.stage] == 0 && options_.hooks.gradients_complete)
      options_.hooks.gradients_complete(action.stage);
  }

  using StageAndMicroBatch = std::pair<int64_t, int64_t>;

  const PipelineSchedule& schedule_;
  const std::vector<Action>& actions_;
  const std::vector<int64_t> rank_of_;
  const std::vector<PipelineStage>& stages_;
  StageTransport& transport_;
  const PipelineOptions& options_;
  const PipelineLoss* loss_;        ///< null in evaluation
  const OutputObserver* observer_;  ///< null in training
  const int64_t hidden_seq_len_;
  const std::vector<MicroBatch> micro_batches_;
  std::set<StageAndMicroBatch> divided_;                   ///< whose backward pass is in two parts
  std::map<int64_t, int64_t> gradients_missing_;           ///< by stage, actions B and W to come
  std::map<int64_t, std::deque<StageInput>> not_started_;  ///< by sender
  std::map<StageInput, Pending> receiving_;
  std::map<StageInput, at::Tensor> handed_over_;  ///< from stage to stage of this rank
  std::map<StageAndMicroBatch, InFlight> in_flight_;
  std::vector<Pending> sent_;
  at::Tensor loss_sum_;
};

PipelineRuntime::PipelineRuntime(PipelineSchedule schedule, std::vector<PipelineStage> stages,
                                 std::unique_ptr<StageTransport> transport, PipelineOptions options)
    : schedule_(std::move(schedule)),
      stages_(std::move(stages)),
      transport_(std::move(transport)),
      options_(std::move(options)) {
  check_schedule(schedule_);
  COEUS_CHECK(transport_->rank() < schedule_.rank_count(),
              "[PipelineRuntime] rank {} has no part in a schedule of {} ranks", transport_->rank(),
              schedule_.rank_count());
  std::sort(stages_.begin(), stages_.end(),
            [](const auto& a, const auto& b) { return a.number < b.number; });
  std::vector<int64_t> numbers;
  for (const PipelineStage& stage : stages_) numbers.push_back(stage.number);
  COEUS_CHECK(numbers == schedule_.stages_of(transport_->rank()),
              "[PipelineRuntime] the schedule gives rank {} the stages {}, and there are {}",
              transport_->rank(), fmt::join(schedule_.stages_of(transport_->rank()), ", "),
              fmt::join(numbers, ", "));
}

PipelineRuntime::~PipelineRuntime() = default;

bool PipelineRuntime::has_first_stage() const { return stages_.front().number == 0; }
bool PipelineRuntime::has_last_stage() const {
  return stages_.back().number + 1 == schedule_.stages;
}

at::Tensor PipelineRuntime::run(const PipelineBatch& batch, const PipelineLoss& loss) {
  const int64_t size = options_.micro_batch_size;
  const int64_t micro_batches = (batch.tokens.size(0) + size - 1) / size;
  COEUS_CHECK(micro_batches == schedule_.micro_batches,
              "[PipelineRuntime::run] {} rows in micro-batches of {} are {}, and the schedule is "
              "made for {}",
              batch.tokens.size(0), size, micro_batches, schedule_.micro_batches);
  first_by_host(*transport_, has_trained_);
  // Weights that autocast casts are kept for all micro-batches of the run.
  const nn::Autocast::Nesting keeps_casts;
  return Run(*this, schedule_, batch, &loss, nullptr).execute();
}

void PipelineRuntime::evaluate(const PipelineBatch& batch, const OutputObserver& observer) {
  const at::NoGradGuard no_grad;
  const int64_t size = options_.micro_batch_size;
  const PipelineSchedule schedule =
      forward_only(schedule_, (batch.tokens.size(0) + size - 1) / size);
  first_by_host(*transport_, has_evaluated_);
  const nn::Autocast::Nesting keeps_casts;
  Run(*this, schedule, batch, nullptr, &observer).execute();
}

}  // namespace coeus
