// Forward passes of models cut into pipeline stages: every stage sees the masks and positions of
// its micro-batch, and evaluation gives the hidden states of the whole.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "coeus/models/pipeline_run_test.h"
#include "coeus/parallel/pipeline/stage_split.h"

namespace coeus {
namespace {

/// The stages of a rank, of parts of the model that `make` makes. Their calls go through `around`,
/// if it is given.
std::vector<PipelineStage> stages_of(
    MakeModel make, const PipelineSchedule& schedule, int64_t rank,
    const std::function<void(int64_t stage, const at::Tensor&, const AttentionMasks&)>& around =
        {}) {
  const StageModules split = split_into_stages(make()->pipeline_modules(), schedule.stages, 1, 1);
  std::vector<PipelineStage> stages;
  for (const int64_t number : schedule.stages_of(rank)) {
    const auto part = make();
    part->keep_modules(split[number]);
    part->init_weights(3);
    stages.push_back({number, [=](const at::Tensor& x, const at::Tensor& positions,
                                  const AttentionMasks& masks) {
                        if (around) around(number, positions, masks);
                        return part->forward_part(x, positions, masks);
                      }});
  }
  return stages;
}

class MasksThroughThePipeline : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, MasksThroughThePipeline,
                         testing::Values("GPipe", "1F1B", "Interleaved1F1B", "LoopedBFS",
                                         "InterleavedZeroBubble", "ZBVZeroBubble", "csv"),
                         [](const auto& info) { return "Schedule" + std::string(info.param); });

TEST_P(MasksThroughThePipeline, EveryStageSeesThoseOfItsMicroBatch) {
  struct Seen {
    at::Tensor positions;
    AttentionMasks masks;
  };
  const PipelineBatch batch = batch_of(*llama4_irope(), 5);
  for (const int64_t size : {1, 2}) {
    const PipelineSchedule schedule = schedule_named(GetParam(), 2, (5 + size - 1) / size);
    std::vector<std::vector<Seen>> seen(schedule.stages);
    for_ranks(2, [&](std::unique_ptr<StageTransport> transport) {
      const int64_t rank = transport->rank();
      const auto note = [&](int64_t stage, const at::Tensor& positions,
                            const AttentionMasks& masks) {
        seen[stage].push_back({positions, masks});
      };
      PipelineRuntime(schedule, stages_of(llama4_irope, schedule, rank, note), std::move(transport),
                      {.hidden_size = 16, .micro_batch_size = size})
          .run(batch, [](const at::Tensor& normed, const at::Tensor&) { return normed.sum(); });
    });
    for (int64_t stage = 0; stage < schedule.stages; ++stage) {
      auto call = seen[stage].begin();
      for (const Action& action : schedule.ranks[schedule.rank_of_stage()[stage]]) {
        if (action.kind != ActionKind::kForward || action.stage != stage) continue;
        SCOPED_TRACE(action_text(action));
        const int64_t first = action.micro_batch * size;
        const int64_t rows = std::min<int64_t>(size, 5 - first);
        ASSERT_NE(call, seen[stage].end());
        EXPECT_TRUE(at::equal(call->positions, batch.positions.narrow(0, first, rows)));
        ASSERT_EQ(call->masks.size(), 2U);
        for (const auto& [name, mask] : call->masks) {
          ASSERT_EQ(mask.batch_size(), rows);
          // The row itself: neither another's nor lowered anew.
          for (int64_t row = 0; row < rows; ++row)
            EXPECT_EQ(mask.shared_row(row), batch.masks.at(name).shared_row(first + row)) << name;
        }
        ++call;
      }
      EXPECT_EQ(call, seen[stage].end());
    }
  }
}

/// Notes each receive that is started.
class NotingTransport : public StageTransport {
 public:
  NotingTransport(std::unique_ptr<StageTransport> transport, std::string& notes)
      : transport_(std::move(transport)), notes_(notes) {}
  int64_t rank() const override { return transport_->rank(); }
  Pending send(const at::Tensor& x, int64_t to, int64_t tag) override {
    return transport_->send(x, to, tag);
  }
  Pending receive(const at::Tensor& into, int64_t from, int64_t tag) override {
    notes_ += 'r';
    return transport_->receive(into, from, tag);
  }

 private:
  std::unique_ptr<StageTransport> transport_;
  std::string& notes_;
};

TEST(Pipeline, InputsAreReceivedAheadOnlyWhereThatIsWanted) {
  const PipelineSchedule schedule = schedule_named("GPipe", 2, 3);
  const PipelineBatch batch = batch_of(*drawn(llama3_documents), 3);
  for (const bool ahead : {true, false}) {
    std::array<std::string, 2> notes;
    for_ranks(2, [&](std::unique_ptr<StageTransport> transport) {
      const int64_t rank = transport->rank();
      std::vector<PipelineStage> stages = stages_of(llama3_documents, schedule, rank);
      for (PipelineStage& stage : stages)
        stage.forward = [&own = notes[rank], f = stage.forward](const auto&... inputs) {
          own += 'F';
          return f(inputs...);
        };
      PipelineRuntime(schedule, stages,
                      std::make_unique<NotingTransport>(std::move(transport), notes[rank]),
                      {.hidden_size = 16, .receives_ahead = ahead})
          .run(batch, [](const at::Tensor& normed, const at::Tensor&) { return normed.sum(); });
    });
    EXPECT_EQ(notes[0], ahead ? "rrrFFF" : "FFFrrr");
    EXPECT_EQ(notes[1], ahead ? "rrrFFF" : "rFrFrF");
  }
}

TEST(Pipeline, EvaluationGivesTheHiddenStatesOfTheWholeForAnyNumberOfRows) {
  const std::shared_ptr<Model> whole = drawn(llama3_documents);
  for (const int64_t rows : {1, 3, 6}) {
    const PipelineBatch batch = batch_of(*whole, rows);
    for (const char* name : {"1F1B", "ZBVZeroBubble"}) {
      const PipelineSchedule schedule = schedule_named(name, 2, 4);
      std::vector<at::Tensor> states;
      for_ranks(2, [&](std::unique_ptr<StageTransport> transport) {
        const int64_t rank = transport->rank();
        PipelineRuntime(schedule, stages_of(llama3_documents, schedule, rank), std::move(transport),
                        {.hidden_size = 16, .micro_batch_size = 2})
            .evaluate(batch, [&](const at::Tensor& out, const MicroBatch& part) {
              EXPECT_FALSE(out.requires_grad());
              EXPECT_EQ(out.size(0), part.rows);
              states.push_back(out);
            });
      });
      const at::NoGradGuard no_grad;
      const at::Tensor expected =
          whole->hidden_states(batch.tokens, batch.positions, batch.masks, {});
      ASSERT_FALSE(states.empty());
      EXPECT_TRUE(at::allclose(at::cat(states), expected, 1e-5, 1e-6)) << name << " " << rows;
    }
  }
}

}  // namespace
}  // namespace coeus
