#include "coeus/data/mixture_dataset.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/base/random.h"

namespace coeus {

MixtureDataset::MixtureDataset(std::vector<Part> parts, uint64_t seed)
    : Dataset("mixture"), parts_(std::move(parts)), seed_(seed) {
  COEUS_CHECK_CONFIG(!parts_.empty(), "[mixture] needs at least one data set");
  double total = 0;
  for (const auto& part : parts_) {
    COEUS_CHECK_CONFIG(std::isfinite(part.weight) && part.weight > 0,
                       "[mixture] the weight of {} must be a positive number, got {}",
                       part.dataset->name(), part.weight);
    total += part.weight;
    shares_.push_back(total);
  }
  for (auto& share : shares_) share /= total;
}

size_t MixtureDataset::part_of(int64_t number) const {
  uint64_t drawn =
      mix64(mix64(seed_ + kGoldenGamma) + (static_cast<uint64_t>(number) + 1) * kGoldenGamma);
  double u = static_cast<double>(drawn >> 11) * 0x1p-53;
  auto part = std::ranges::upper_bound(shares_, u) - shares_.begin();
  return std::min(static_cast<size_t>(part), parts_.size() - 1);
}

bool MixtureDataset::next(Document& document) {
  size_t chosen = within_ >= 0 ? static_cast<size_t>(within_) : part_of(begun_);
  auto& dataset = *parts_[chosen].dataset;
  if (!dataset.next(document)) {
    log_warning("Dataset {} is being re-looped", dataset.name());
    dataset.next_epoch();
    COEUS_CHECK_DATA(dataset.next(document), "[mixture] data set {} holds no document",
                     dataset.name());
  }
  if (document.begins) ++begun_;
  within_ = document.ends ? -1 : static_cast<int64_t>(chosen);
  return true;
}

bool MixtureDataset::needs_tokenizer() const {
  return std::ranges::any_of(parts_,
                             [](const Part& part) { return part.dataset->needs_tokenizer(); });
}

bool MixtureDataset::has_images() const {
  return std::ranges::any_of(parts_, [](const Part& part) { return part.dataset->has_images(); });
}

DatasetPosition MixtureDataset::position() const {
  DatasetPosition all{begun_, within_};
  for (const auto& part : parts_) {
    auto position = part.dataset->position();
    all.push_back(static_cast<int64_t>(position.size()));
    all.insert(all.end(), position.begin(), position.end());
  }
  return all;
}

void MixtureDataset::seek(const DatasetPosition& position) {
  auto check = [&](bool good) {
    COEUS_CHECK_AS(CheckpointError, good, "[data] {} is no position in a mixture of {} data sets",
                   position, parts_.size());
  };
  auto count = static_cast<int64_t>(parts_.size());
  check(position.size() >= 2 && position[0] >= 0 && position[1] >= -1 && position[1] < count);
  auto next = position.begin() + 2;
  std::vector<DatasetPosition> positions;
  for (int64_t i = 0; i < count; ++i) {
    check(next != position.end() && *next >= 0 && *next < position.end() - next);
    positions.emplace_back(next + 1, next + 1 + *next);
    next += 1 + *next;
  }
  check(next == position.end());
  for (size_t i = 0; i < parts_.size(); ++i) parts_[i].dataset->seek(positions[i]);
  begun_ = position[0];
  within_ = position[1];
}

nlohmann::json MixtureDataset::identity() const {
  nlohmann::json parts = nlohmann::json::array();
  for (const auto& part : parts_) {
    parts.push_back({{"weight", part.weight}, {"dataset", part.dataset->identity()}});
  }
  return {{"kind", "mixture"}, {"seed", seed_}, {"parts", std::move(parts)}};
}

void MixtureDataset::stop_changed() {
  for (auto& part : parts_) part.dataset->set_stop(stop());
}

}  // namespace coeus
