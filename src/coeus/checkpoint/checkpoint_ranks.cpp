#include "coeus/checkpoint/checkpoint_ranks.h"

#include <algorithm>

namespace coeus {

namespace {

constexpr size_t kMaxLines = 8;

class SingleRank : public CheckpointRanks {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::vector<std::string> gather(const std::string& text) override { return {text}; }
};

}  // namespace

CheckpointRanks& single_rank() {
  static SingleRank ranks;
  return ranks;
}

std::string text_of_first(CheckpointRanks& ranks, const std::string& text) {
  return ranks.gather(ranks.rank() == 0 ? text : "")[0];
}

std::string joined_errors(const std::vector<std::string>& errors) {
  const bool all_alike = std::all_of(errors.begin(), errors.end(),
                                     [&](const auto& text) { return text == errors[0]; });
  if (all_alike) return errors[0];
  std::vector<std::string> lines;
  size_t more = 0;
  for (size_t rank = 0; rank < errors.size(); ++rank) {
    if (errors[rank].empty()) continue;
    if (lines.size() < kMaxLines) {
      lines.push_back(fmt::format("rank {}: {}", rank, errors[rank]));
    } else {
      ++more;
    }
  }
  if (more > 0) lines.push_back(fmt::format("and {} more ranks", more));
  return fmt::format("{}", fmt::join(lines, "\n"));
}

}  // namespace coeus
