// The same loss in every layout. CI trains a dozen; COEUS_LAYOUTS=all trains every model in every
// layout, and COEUS_LAYOUTS_TABLE names a file for the table of docs/layouts.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>

#include "coeus/base/temporary_folder.h"
#include "coeus/train/metrics/compare.h"
#include "coeus/train/metrics/loss_curve.h"
#include "layouts.h"
#include "run_command.h"

namespace coeus {
namespace {

constexpr double kLossTolerance = 2e-5;
constexpr double kGradNormTolerance = 2e-3;
constexpr int kGlobalBatch = 8;

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::filesystem::path runs_folder() {
  static const TemporaryFolder folder;
  return folder.path();
}

std::string as_name(std::string text) {
  for (char& c : text)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return text;
}

LossCurve train(const LayoutModel& model, const std::string& command, const std::string& flags,
                int data_ranks, const std::string& folder_name) {
  const std::string folder = (runs_folder() / folder_name).string();
  const Outcome outcome =
      run_coeus(command + " train --model.name=" + model.name + " --model.flavor=" + model.flavor +
                " --training.dataset=synthetic --training.seq_len=128 --training.steps=10"
                " --lr_scheduler.warmup_steps=2 --training.mixed_precision_param=float32"
                " --metrics.log_freq=1 --training.local_batch_size=" +
                std::to_string(kGlobalBatch / data_ranks) + flags + " --job.dump_folder=" + folder);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  return outcome.exit_code == 0 ? read_loss_curve(folder + "/metrics.jsonl") : LossCurve();
}

/// One process's, trained once for each model.
const LossCurve& reference(const LayoutModel& model) {
  static std::map<std::string, LossCurve> curves;
  const auto found = curves.find(model.label());
  if (found != curves.end()) return found->second;
  return curves[model.label()] = train(model, "", "", 1, as_name(model.label()));
}

void add_to_table(const Layout& layout, const LayoutModel& model, const Comparison& comparison) {
  const std::string path = environment("COEUS_LAYOUTS_TABLE");
  if (path.empty()) return;
  std::ofstream(path, std::ios::app) << fmt::format(
      "| {} | {} | {} | {:.1e} | {:.1e} |\n", layout.name, layout.ranks, model.label(),
      comparison.loss.difference, comparison.grad_norm.value().difference);
}

struct Case {
  LayoutModel model;
  Layout layout;
};

std::vector<Case> cases() {
  const bool all = environment("COEUS_LAYOUTS") == "all";
  std::vector<Case> cases;
  for (const LayoutModel& model : layout_models())
    for (const Layout& layout : layouts()) {
      const bool in_ci =
          std::find(layout.in_ci.begin(), layout.in_ci.end(), model.label()) != layout.in_ci.end();
      if (layout.needs_experts && !model.has_experts) continue;
      if (all || in_ci) cases.push_back({model, layout});
    }
  return cases;
}

class SameLoss : public testing::TestWithParam<Case> {};

TEST_P(SameLoss, AsOneProcess) {
  const auto& [model, layout] = GetParam();
  const LossCurve& one = reference(model);
  ASSERT_EQ(one.size(), 10U);
  const LossCurve many =
      train(model, "launch -n " + std::to_string(layout.ranks) + " --", layout.flags,
            layout.data_ranks, as_name(layout.name + "_" + model.label()));
  ASSERT_EQ(many.size(), one.size());
  const CompareLimits limits = {.loss_absolute = kLossTolerance,
                                .grad_norm_relative = kGradNormTolerance};
  const Comparison comparison = compare_curves(one, many, limits);
  add_to_table(layout, model, comparison);
  EXPECT_TRUE(comparison.within()) << comparison_table(comparison, limits);
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  return as_name(info.param.model.label() + "_" + info.param.layout.name);
}

INSTANTIATE_TEST_SUITE_P(Layouts, SameLoss, testing::ValuesIn(cases()), name_of);

}  // namespace
}  // namespace coeus
