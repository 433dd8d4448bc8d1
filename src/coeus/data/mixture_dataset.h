// Several data sets read in turn, by weight.
#pragma once

#include <memory>
#include <vector>

#include "coeus/data/dataset.h"

namespace coeus {

/// The n-th document comes from a part drawn by (seed, n) with probabilities in proportion to the
/// weights, which therefore count documents, not tokens. A part that ends starts over with a
/// warning in the log; the mixture has no end.
///
/// Position: documents begun, the part in the middle of a document (-1: none), then each part's
/// position after its length.
class MixtureDataset : public Dataset {
 public:
  struct Part {
    std::unique_ptr<Dataset> dataset;
    double weight = 1;
  };

  /// Throws ConfigError without parts and for a weight that is not a positive number.
  MixtureDataset(std::vector<Part> parts, uint64_t seed);

  bool next(Document& document) override;
  void next_epoch() override {}
  std::optional<int64_t> size() const override { return std::nullopt; }
  bool needs_tokenizer() const override;
  bool has_images() const override;
  bool is_endless() const override { return true; }
  DatasetPosition position() const override;
  void seek(const DatasetPosition& position) override;
  nlohmann::json identity() const override;

  /// The part that document `number` comes from.
  size_t part_of(int64_t number) const;

 private:
  void stop_changed() override;

  std::vector<Part> parts_;
  std::vector<double> shares_;  // cumulative, the last one 1
  uint64_t seed_;
  int64_t begun_ = 0;
  int64_t within_ = -1;
};

}  // namespace coeus
