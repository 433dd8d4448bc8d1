#include "coeus/parallel/fsdp/fsdp.h"

#include <torch/types.h>

#include "coeus/parallel/fsdp/at_backward.h"

namespace coeus {

Fsdp::Fsdp(const ParallelGroups& groups, ShardedParameters& parameters, const FsdpOptions& options)
    : groups_(groups), parameters_(parameters), options_(options) {}

Fsdp::~Fsdp() = default;

void Fsdp::add(const FsdpUnit& of) {
  auto unit = std::make_unique<Unit>();
  unit->of = of;
  for (const bool is_expert : {false, true})
    for (const bool multiplies : {false, true}) {
      std::vector<std::string> names;
      for (const FsdpParameter& parameter : of.parameters)
        if (parameter.is_expert == is_expert && parameter.multiplies == multiplies)
          names.push_back(parameter.name);
      if (names.empty()) continue;
      UnitPrecision precision = options_.precision;
      if (!multiplies) precision.param_dtype = parameters_.at(names[0]).tensor.scalar_type();
      unit->parts.push_back(std::make_unique<ParameterUnit>(
          of.name, parameters_, names, is_expert ? groups_.expert_shard : groups_.shard,
          groups_.replicate, precision));
    }

  const size_t index = units_.size();
  units_.push_back(std::move(unit));
  if (groups_.mesh.world() == 1) return;
  of.entry->add_input_hook([this, index](const at::Tensor& x) {
    enter(index);
    return at_backward(x, [this, index] { after_backward(index); });
  });
  of.exit->add_output_hook([this, index](const at::Tensor& y) {
    leave(index);
    return at_backward(y, [this, index] { before_backward(index); });
  });
}

void Fsdp::materialize() {
  for (const auto& unit : units_)
    for (const auto& part : unit->parts) part->materialize(options_.device);
}

bool Fsdp::reshards(const Unit& unit) const {
  return options_.reshard_after_forward && !unit.of.always_whole;
}

void Fsdp::enter(size_t index) {
  for (const auto& part : units_[index]->parts) part->unshard();
  // The next unit's are on their way while this one computes.
  if (index + 1 < units_.size())
    for (const auto& part : units_[index + 1]->parts) part->start_unshard();
}

void Fsdp::leave(size_t index) {
  Unit& unit = *units_[index];
  // The last unit's backward comes next.
  const bool is_last = index + 1 == units_.size();
  if (!at::GradMode::is_enabled() || (reshards(unit) && !is_last))
    for (const auto& part : unit.parts) part->reshard();
}

void Fsdp::before_backward(size_t index) {
  const Unit& unit = *units_[index];
  for (const auto& part : unit.parts)
    unit.of.backward_reads ? part->unshard() : part->unshard_sizes();
  if (index > 0 && units_[index - 1]->of.backward_reads)
    for (const auto& part : units_[index - 1]->parts) part->start_unshard();
}

void Fsdp::after_backward(size_t index) {
  Unit& unit = *units_[index];
  if (!options_.in_pipeline) {
    reduce(unit);
    return;
  }
  for (const auto& part : unit.parts) reshards(unit) ? part->reshard() : part->keep_gradients();
}

void Fsdp::begin_pass(bool last) {
  last_pass_ = last;
  for (const auto& unit : units_) unit->is_reduced = false;
}

void Fsdp::reduce(Unit& unit) {
  if (unit.is_reduced) return;
  if (!last_pass_ && !reshards(unit)) {
    for (const auto& part : unit.parts) part->keep_gradients();
    return;
  }
  unit.is_reduced = true;
  for (const auto& part : unit.parts) part->start_reduction();
  // One unit's exchange is under way at a time.
  end_reduction();
  reducing_ = &unit;
}

void Fsdp::end_reduction() {
  if (reducing_ == nullptr) return;
  for (const auto& part : reducing_->parts) {
    part->finish_reduction();
    if (last_pass_) part->start_replica_reduction();
  }
  reducing_ = nullptr;
}

void Fsdp::end_pass() {
  if (options_.in_pipeline && !last_pass_) return;
  // Those that backward has not come to the beginning of, or not at all: on every rank alike, for
  // the others wait for them.
  for (auto unit = units_.rbegin(); unit != units_.rend(); ++unit) reduce(**unit);
  end_reduction();
  for (const auto& unit : units_)
    for (const auto& part : unit->parts) {
      part->finish_replica_reduction();
      part->drop_prefetched();
    }
}

void Fsdp::release() {
  for (const auto& unit : units_)
    for (const auto& part : unit->parts) {
      part->reshard();
      part->drop_prefetched();
    }
}

}  // namespace coeus
