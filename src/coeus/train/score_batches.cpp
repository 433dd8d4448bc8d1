#include "coeus/train/score_batches.h"

#include <algorithm>
#include <numeric>
#include <span>

namespace coeus {

namespace {

/// How many tokens of a line the model reads.
int64_t read_length(const ScoreLine& line) { return static_cast<int64_t>(line.tokens.size()) - 1; }

/// The attributes of the tokens that the model reads, padded to `length`.
SequenceLayout layout_of(const ScoreLine& line, int64_t length) {
  std::vector<int64_t> documents = line.documents;
  if (--documents.back() == 0) documents.pop_back();
  if (const int64_t padding = length - read_length(line); padding > 0) documents.push_back(padding);
  return SequenceLayout::from_document_lengths(documents);
}

/// Whether a token of the line sees padding in its row of the batch.
bool sees_padding(const Model& model, const ScoreLine& line, const AttentionMasks& padded,
                  int64_t row) {
  const std::vector<SequenceLayout> alone = {layout_of(line, read_length(line))};
  for (const auto& [name, mask] : model.get_attention_masks(alone)) {
    // A mask says of two tokens the same whatever else is there, so more keys are padding.
    const std::vector<int64_t> unpadded = mask.query_areas(0);
    const std::vector<int64_t> all = padded.at(name).query_areas(row);
    if (!std::equal(unpadded.begin(), unpadded.end(), all.begin())) return true;
  }
  return false;
}

ScoreBatch padded_batch(const Model& model, const std::vector<ScoreLine>& lines,
                        const std::vector<size_t>& group, Positions positions) {
  ScoreBatch batch = {.lines = group};
  int64_t length = 0;
  for (const size_t i : group) length = std::max(length, read_length(lines[i]));
  std::vector<SequenceLayout> layouts;
  for (const size_t i : group) {
    layouts.push_back(layout_of(lines[i], length));
    const TokenAttributes& attributes = *layouts.back().query();
    const std::vector<int32_t>& seen =
        positions == Positions::kDocument ? attributes.offset : attributes.index;
    batch.positions.insert(batch.positions.end(), seen.begin(), seen.end());
    batch.tokens.insert(batch.tokens.end(), lines[i].tokens.begin(), lines[i].tokens.end() - 1);
    batch.tokens.resize(batch.positions.size(), 0);
  }
  batch.masks = model.get_attention_masks(layouts);
  return batch;
}

}  // namespace

std::vector<std::vector<size_t>> group_by_length(const std::vector<ScoreLine>& lines,
                                                 int64_t most_tokens) {
  std::vector<size_t> order;
  for (size_t i = 0; i < lines.size(); ++i)
    if (read_length(lines[i]) > 0) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return read_length(lines[a]) > read_length(lines[b]);
  });
  std::vector<std::vector<size_t>> groups;
  int64_t longest = 0;
  for (const size_t i : order) {
    const bool fits = !groups.empty() &&
                      (static_cast<int64_t>(groups.back().size()) + 1) * longest <= most_tokens &&
                      8 * (longest - read_length(lines[i])) <= longest;
    if (!fits) {
      groups.emplace_back();
      longest = read_length(lines[i]);
    }
    groups.back().push_back(i);
  }
  return groups;
}

std::vector<ScoreBatch> make_score_batches(const Model& model, const std::vector<ScoreLine>& lines,
                                           const std::vector<size_t>& group, Positions positions) {
  ScoreBatch whole = padded_batch(model, lines, group, positions);
  const int64_t longest = read_length(lines[group.front()]);
  bool is_seen = false;
  for (size_t row = 0; row < group.size() && !is_seen; ++row)
    if (const ScoreLine& line = lines[group[row]]; read_length(line) < longest)
      is_seen = sees_padding(model, line, whole.masks, static_cast<int64_t>(row));
  std::vector<ScoreBatch> batches;
  if (!is_seen) {
    batches.push_back(std::move(whole));
    return batches;
  }
  for (auto begin = group.begin(); begin != group.end();) {
    const auto end = std::find_if(begin, group.end(), [&](size_t i) {
      return read_length(lines[i]) != read_length(lines[*begin]);
    });
    batches.push_back(padded_batch(model, lines, {begin, end}, positions));
    begin = end;
  }
  return batches;
}

}  // namespace coeus
