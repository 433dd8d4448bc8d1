#include "coeus/parallel/context/context_batch.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "coeus/base/error.h"

namespace coeus {

namespace {

/// Keeps the images that have a patch among this rank's tokens, and tells which patch each of its
/// image tokens stands for. `tokens`: of the whole rows.
void select_images(ImagePatches& images, const std::vector<int32_t>& tokens,
                   const ContextRows& rows, int64_t rank) {
  if (images.patches() == 0) return;
  std::vector<int64_t> patch_of(tokens.size(), -1);
  int64_t patches = 0;
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] == images.token) patch_of[i] = patches++;
  COEUS_ASSERT(patches == images.patches());
  std::vector<int64_t> own = select_tokens(patch_of, rows, rank);
  std::erase(own, -1);

  std::vector<bool> is_seen(patches);
  for (const int64_t patch : own) is_seen[patch] = true;
  std::vector<ImageGrid> grids;
  std::vector<float> values;
  std::vector<int64_t> number(patches, -1);  // of each patch that is kept, among those
  int64_t first = 0, kept = 0;
  for (const ImageGrid& grid : images.grids) {
    const int64_t end = first + grid.patches();
    if (std::find(is_seen.begin() + first, is_seen.begin() + end, true) != is_seen.begin() + end) {
      grids.push_back(grid);
      values.insert(values.end(), images.values.begin() + first * images.patch_dim,
                    images.values.begin() + end * images.patch_dim);
      for (int64_t patch = first; patch < end; ++patch) number[patch] = kept++;
    }
    first = end;
  }
  for (int64_t& patch : own) patch = number[patch];
  images.grids = std::move(grids);
  images.values = std::move(values);
  images.order = std::move(own);
  images.layout = layout_of(images.grids);
}

/// Rows that go through the layers at once.
struct Pass {
  size_t batch = 0;
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t work = 0;
  std::vector<size_t> chosen = {};  ///< rows of the step, counted over all batches
};

std::vector<Pass> passes_of(std::span<const Batch> step, int64_t rows_per_pass) {
  std::vector<Pass> passes;
  for (size_t batch = 0; batch < step.size(); ++batch)
    for (int64_t row = 0; row < step[batch].batch_size; row += rows_per_pass)
      passes.push_back({batch, row, std::min(rows_per_pass, step[batch].batch_size - row)});
  return passes;
}

/// The dearest row first, each to the pass with the least work that has room.
void deal_rows(const std::vector<int64_t>& work, std::vector<Pass>& passes) {
  std::vector<size_t> order(work.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return work[a] > work[b]; });
  for (const size_t row : order) {
    Pass* least = nullptr;
    for (Pass& pass : passes)
      if (static_cast<int64_t>(pass.chosen.size()) < pass.rows &&
          (least == nullptr || pass.work < least->work))
        least = &pass;
    COEUS_ASSERT(least != nullptr);
    least->chosen.push_back(row);
    least->work += work[row];
  }
  for (Pass& pass : passes) std::sort(pass.chosen.begin(), pass.chosen.end());
}

}  // namespace

void shard_batch(Batch& batch, const ContextRows& rows, const ContextRowPlanner& planner) {
  const int64_t rank = planner.options().rank;
  COEUS_CHECK(rows.row_length() == batch.seq_len &&
                  static_cast<int64_t>(rows.plans.size()) == batch.batch_size,
              "[shard_batch] the plan is for {} rows of {} tokens, the batch has {} of {}",
              rows.plans.size(), rows.row_length(), batch.batch_size, batch.seq_len);
  select_images(batch.images, batch.tokens, rows, rank);
  for (std::vector<int32_t>* values : {&batch.tokens, &batch.labels, &batch.positions})
    *values = select_tokens(*values, rows, rank);
  batch.seq_len = rows.tokens_on(rank);
  batch.layouts = planner.layouts(rows);
  batch.masks = planner.masks(rows);
  batch.plan_hash = rows.hash();
}

void balance_passes(std::span<Batch> step, std::vector<std::vector<ContextRow>>& rows,
                    int64_t rows_per_pass) {
  std::vector<Pass> passes = passes_of(step, rows_per_pass);
  const bool has_images = std::any_of(
      step.begin(), step.end(), [](const Batch& batch) { return batch.images.patches() > 0; });
  if (passes.size() < 2 || has_images) return;

  std::vector<std::pair<size_t, int64_t>> origin;  // of each row of the step, batch and number
  std::vector<int64_t> work;
  for (size_t batch = 0; batch < step.size(); ++batch)
    for (int64_t row = 0; row < step[batch].batch_size; ++row) {
      origin.emplace_back(batch, row);
      work.push_back(rows[batch][row].work());
    }
  deal_rows(work, passes);

  const std::vector<Batch> before(step.begin(), step.end());
  std::vector<std::vector<ContextRow>> moved(step.size());
  for (Batch& batch : step) batch.layouts.clear();
  for (const Pass& pass : passes) {
    Batch& batch = step[pass.batch];
    for (size_t i = 0; i < pass.chosen.size(); ++i) {
      const auto [from, row] = origin[pass.chosen[i]];
      const int64_t to = (pass.first_row + static_cast<int64_t>(i)) * batch.seq_len;
      for (std::vector<int32_t> Batch::*values :
           {&Batch::tokens, &Batch::labels, &Batch::positions})
        std::copy_n((before[from].*values).begin() + row * batch.seq_len, batch.seq_len,
                    (batch.*values).begin() + to);
      batch.layouts.push_back(before[from].layouts[row]);
      moved[pass.batch].push_back(std::move(rows[from][row]));
    }
  }
  rows = std::move(moved);
  for (Batch& batch : step) batch.valid_labels = batch.own_labels();
}

}  // namespace coeus
