#include "coeus/parallel/pipeline/make_schedule.h"

#include <algorithm>
#include <array>

#include "coeus/base/error.h"

namespace coeus {

namespace {

using enum ActionKind;

constexpr std::array<ScheduleTraits, 6> kSchedules = {{
    {"1F1B", /*stages_per_rank=*/1},
    {"GPipe", /*stages_per_rank=*/1},
    {"Interleaved1F1B"},
    {"LoopedBFS"},
    {"InterleavedZeroBubble"},
    {"ZBVZeroBubble", /*stages_per_rank=*/2},
}};

/// What a rank's generator needs to know.
struct Shape {
  int64_t ranks;
  int64_t stages_per_rank;
  int64_t micro_batches;
};

/// How many micro-batches each round of an interleaved schedule has: about as many as ranks, and
/// all nearly the same.
std::vector<int64_t> rounds_of(const Shape& shape) {
  const int64_t rounds = std::max<int64_t>(1, shape.micro_batches / shape.ranks);
  std::vector<int64_t> sizes(rounds, shape.micro_batches / rounds);
  for (int64_t i = 0; i < shape.micro_batches % rounds; ++i) ++sizes[i];
  return sizes;
}

/// A rank's passes in the order of an interleaved schedule: round by round and, within one, stage
/// by stage; the stages from the last to the first in backward passes.
std::vector<Action> interleaved(const Shape& shape, int64_t rank, ActionKind kind) {
  std::vector<Action> actions;
  int64_t first = 0;
  for (const int64_t size : rounds_of(shape)) {
    for (int64_t local = 0; local < shape.stages_per_rank; ++local) {
      const int64_t turn = kind == kForward ? local : shape.stages_per_rank - 1 - local;
      for (int64_t i = first; i < first + size; ++i)
        actions.push_back({kind, turn * shape.ranks + rank, i});
    }
    first += size;
  }
  return actions;
}

/// `warmup` forward passes, then one forward and one backward pass by turns, then what is left.
/// With kInputGradient for `backward`, the weight gradients follow, put off by `delay` backward
/// passes.
std::vector<Action> one_forward_one_backward(const Shape& shape, int64_t rank, int64_t warmup,
                                             ActionKind backward, int64_t delay = 0) {
  const std::vector<Action> forwards = interleaved(shape, rank, kForward);
  const std::vector<Action> backwards = interleaved(shape, rank, backward);
  std::vector<Action> actions;
  size_t next_forward = 0, next_weight = 0;
  const auto weight_gradient = [&] {
    Action action = backwards[next_weight++];
    action.kind = kWeightGradient;
    actions.push_back(action);
  };
  const size_t warm = std::min<size_t>(warmup, forwards.size());
  while (next_forward < warm) actions.push_back(forwards[next_forward++]);
  for (size_t i = 0; i < backwards.size(); ++i) {
    if (next_forward < forwards.size()) actions.push_back(forwards[next_forward++]);
    actions.push_back(backwards[i]);
    if (backward == kInputGradient && i >= static_cast<size_t>(delay)) weight_gradient();
  }
  while (backward == kInputGradient && next_weight < backwards.size()) weight_gradient();
  return actions;
}

/// Forward passes until the first micro-batch of a rank can turn round, `distance` for each rank
/// behind it.
int64_t interleaved_warmup(const Shape& shape, int64_t rank, int64_t distance) {
  return (shape.stages_per_rank - 1) * rounds_of(shape).front() +
         distance * (shape.ranks - 1 - rank);
}

/// All forward passes stage by stage, then all backward passes.
std::vector<Action> breadth_first(const Shape& shape, int64_t rank, bool backwards_reversed) {
  std::vector<Action> actions;
  for (int64_t local = 0; local < shape.stages_per_rank; ++local)
    for (int64_t i = 0; i < shape.micro_batches; ++i)
      actions.push_back({kForward, local * shape.ranks + rank, i});
  for (int64_t local = shape.stages_per_rank - 1; local >= 0; --local)
    for (int64_t i = 0; i < shape.micro_batches; ++i)
      actions.push_back({kBackward, local * shape.ranks + rank,
                         backwards_reversed ? shape.micro_batches - 1 - i : i});
  return actions;
}

/// The V of two stages, `down` and `up`: a micro-batch passes all ranks downwards and comes back.
class VOfRank {
 public:
  VOfRank(const Shape& shape, int64_t rank)
      : shape_(shape), rank_(rank), down_{rank}, up_{2 * shape.ranks - 1 - rank} {}

  std::vector<Action> actions() {
    // The pattern is made for at least as many micro-batches as fill the pipeline; those that
    // there are not are left out.
    const int64_t count = std::max(2 * shape_.ranks - 1, shape_.micro_batches);
    const int64_t behind = shape_.ranks - rank_;
    for (int64_t i = 0; i < 2 * behind - 1; ++i) forward(down_);
    for (int64_t i = 0; i < rank_; ++i) {
      forward(up_);
      forward(down_);
    }
    for (int64_t i = 0; i < behind; ++i) {
      forward(up_);
      backward(up_);
    }
    while (up_.forwards < down_.forwards || down_.forwards < count) {
      if (down_.forwards < count) forward(down_);
      backward(down_);
      forward(up_);
      backward(up_);
    }
    // What the ranks before wait for comes first, and weight gradients once there is nothing else.
    for (int64_t i = 0; i < rank_; ++i) {
      input_gradient(down_);
      input_gradient(up_);
    }
    for (int64_t i = 0; i < behind; ++i) {
      input_gradient(down_);
      weight_gradient(down_);
    }
    while (up_.weight_gradients < up_.input_gradients) weight_gradient(up_);
    while (down_.weight_gradients < down_.input_gradients) weight_gradient(down_);
    return std::move(actions_);
  }

 private:
  struct Stage {
    int64_t number;
    int64_t forwards = 0;
    int64_t input_gradients = 0;
    int64_t weight_gradients = 0;
  };

  void add(ActionKind kind, const Stage& stage, int64_t micro_batch) {
    if (micro_batch < shape_.micro_batches) actions_.push_back({kind, stage.number, micro_batch});
  }
  void forward(Stage& stage) { add(kForward, stage, stage.forwards++); }
  void input_gradient(Stage& stage) { add(kInputGradient, stage, stage.input_gradients++); }
  void weight_gradient(Stage& stage) { add(kWeightGradient, stage, stage.weight_gradients++); }
  void backward(Stage& stage) {
    input_gradient(stage);
    weight_gradient(stage);
  }

  const Shape shape_;
  const int64_t rank_;
  Stage down_;
  Stage up_;
  std::vector<Action> actions_;
};

std::vector<Action> actions_of(std::string_view name, const Shape& shape, int64_t rank) {
  if (name == "GPipe") return breadth_first(shape, rank, /*backwards_reversed=*/false);
  if (name == "LoopedBFS") return breadth_first(shape, rank, /*backwards_reversed=*/true);
  if (name == "1F1B")
    return one_forward_one_backward(shape, rank, shape.ranks - 1 - rank, kBackward);
  if (name == "Interleaved1F1B")
    return one_forward_one_backward(shape, rank, interleaved_warmup(shape, rank, 2), kBackward);
  if (name == "InterleavedZeroBubble")
    return one_forward_one_backward(shape, rank, interleaved_warmup(shape, rank, 1), kInputGradient,
                                    /*delay=*/rank);
  COEUS_ASSERT(name == "ZBVZeroBubble");
  return VOfRank(shape, rank).actions();
}

}  // namespace

const ScheduleTraits& schedule_traits(std::string_view name) {
  std::vector<std::string_view> names;
  for (const ScheduleTraits& traits : kSchedules) {
    if (traits.name == name) return traits;
    names.push_back(traits.name);
  }
  const char* instead =
      name == "DualPipeV" ? "; ZBVZeroBubble lays stages out as DualPipeV does" : "";
  throw ConfigError(fmt::format("coeus has no pipeline schedule \"{}\"; it has {}{}", name,
                                fmt::join(names, ", "), instead));
}

PipelineSchedule make_schedule(std::string_view name, int64_t ranks, int64_t stages_per_rank,
                               int64_t micro_batches) {
  const ScheduleTraits& traits = schedule_traits(name);
  COEUS_CHECK(ranks >= 1 && stages_per_rank >= 1 && micro_batches >= 1,
              "[make_schedule] ranks, stages a rank and micro-batches must be at least 1, got {}, "
              "{} and {}",
              ranks, stages_per_rank, micro_batches);
  COEUS_CHECK_CONFIG(
      traits.stages_per_rank == 0 || traits.stages_per_rank == stages_per_rank,
      "the pipeline schedule {} has {} on each rank, and {} stages on {} ranks are {}; make {} "
      "stages or take {}",
      traits.name, traits.stages_per_rank == 1 ? "one stage" : "two stages",
      ranks * stages_per_rank, ranks, stages_per_rank, ranks * traits.stages_per_rank,
      stages_per_rank == 1 ? "1F1B" : "Interleaved1F1B, which takes any number");
  PipelineSchedule schedule{.name = std::string(traits.name),
                            .stages = ranks * stages_per_rank,
                            .micro_batches = micro_batches};
  for (int64_t rank = 0; rank < ranks; ++rank)
    schedule.ranks.push_back(
        actions_of(traits.name, {ranks, stages_per_rank, micro_batches}, rank));
  return schedule;
}

}  // namespace coeus
