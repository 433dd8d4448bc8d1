#include "layout_run.h"

#include <gtest/gtest.h>

#include <cctype>

#include "coeus/base/error.h"
#include "coeus/ops/test_device.h"

namespace coeus {

namespace {

constexpr int kGlobalBatch = 8;

}  // namespace

std::string as_name(std::string text) {
  for (char& c : text)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return text;
}

Outcome run_in_layout(const LayoutModel& model, const Layout& layout, const std::string& flags,
                      const std::filesystem::path& folder) {
  const std::string launch = layout.ranks == 1 ? "" : fmt::format("launch -n {} -- ", layout.ranks);
  return run_coeus(
      fmt::format("{}train --model.name={} --model.flavor={} --training.dataset=synthetic "
                  "--training.seq_len=128 --training.steps=10 --lr_scheduler.warmup_steps=2 "
                  "--training.mixed_precision_param=float32 --metrics.log_freq=1 "
                  "--training.local_batch_size={} --job.dump_folder='{}' --job.device={} {} {}",
                  launch, model.name, model.flavor, kGlobalBatch / layout.data_ranks,
                  folder.string(), test_device().is_cpu() ? "cpu" : "cuda", layout.flags, flags));
}

LossCurve train_in_layout(const LayoutModel& model, const Layout& layout, const std::string& flags,
                          const std::filesystem::path& folder) {
  const Outcome outcome = run_in_layout(model, layout, flags, folder);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  return outcome.exit_code == 0 ? read_loss_curve((folder / "metrics.jsonl").string())
                                : LossCurve();
}

Comparison expect_same(const LossCurve& a, const LossCurve& b, const CompareLimits& limits) {
  EXPECT_EQ(a.size(), b.size());
  if (a.empty() || b.empty()) return {};
  const Comparison comparison = compare_curves(a, b, limits);
  EXPECT_TRUE(comparison.within()) << comparison_table(comparison, limits);
  return comparison;
}

}  // namespace coeus
