#include "coeus/models/shard_parameters.h"

#include <map>
#include <set>

#include "coeus/base/error.h"
#include "coeus/nn/linear.h"
#include "coeus/nn/moe/load_balance.h"

namespace coeus {

namespace {

/// What units are made of: layers by name, and the parameters that no unit has yet.
class Inventory {
 public:
  explicit Inventory(const Model& model) {
    for (const auto& item : model.named_modules("", /*include_self=*/false))
      if (auto* const layer = dynamic_cast<nn::Layer*>(item.value().get()))
        layers_[item.key()] = layer;
    for (const auto& item : model.named_parameters()) left_.push_back(item.key());
    for (const auto& [name, layer] : nn::moe_layers_of(model))
      for (const char* const weight : {".experts.w1", ".experts.w2", ".experts.w3"})
        experts_.insert(name + weight);
  }

  /// Null for a name that there is not.
  nn::Layer* layer(const std::string& name) const {
    const auto found = layers_.find(name);
    return found == layers_.end() ? nullptr : found->second;
  }
  std::string name_of(const nn::Layer* layer) const {
    for (const auto& [name, other] : layers_)
      if (other == layer) return name;
    COEUS_ASSERT(false);
  }

  std::vector<std::string> take(const std::string& prefix) {
    std::vector<std::string> taken, others;
    for (std::string& name : left_)
      (name.starts_with(prefix) ? taken : others).push_back(std::move(name));
    left_ = std::move(others);
    return taken;
  }
  std::vector<std::string> take_rest() { return take(""); }
  std::vector<std::string> experts_among(const std::vector<std::string>& parameters) const {
    std::vector<std::string> experts;
    for (const std::string& name : parameters)
      if (experts_.contains(name)) experts.push_back(name);
    return experts;
  }

 private:
  std::map<std::string, nn::Layer*> layers_;
  std::vector<std::string> left_;
  std::set<std::string> experts_;
};

}  // namespace

void shard_parameters(Model& model, Fsdp& fsdp) {
  Inventory inventory(model);
  const auto add = [&](const FsdpUnit& unit) {
    fsdp.add(unit, inventory.experts_among(unit.parameters));
  };
  nn::Layer* const embedding = inventory.layer("tok_embeddings");
  nn::Layer* const norm = inventory.layer("norm");
  nn::Layer* const output = inventory.layer("output");
  const bool is_tied = dynamic_cast<nn::TiedLinearImpl*>(output) != nullptr;

  std::vector<FsdpUnit> blocks;
  for (nn::Block* const block : model.decoder_blocks()) {
    const std::string name = inventory.name_of(block);
    blocks.push_back({name, block, block, inventory.take(name + ".")});
  }
  FsdpUnit last;
  if (norm != nullptr && !is_tied) {
    last = {"norm, output", norm, output, inventory.take("norm.")};
    for (std::string& name : inventory.take("output.")) last.parameters.push_back(std::move(name));
  }
  if (embedding != nullptr) {
    FsdpUnit first = {"tok_embeddings", embedding, embedding, inventory.take_rest()};
    if (is_tied || first.parameters.size() > 1) {
      first.exit = output;
      first.always_whole = true;
    } else {
      first.backward_reads = false;
    }
    add(first);
  }
  for (const FsdpUnit& block : blocks) add(block);
  if (norm != nullptr && !is_tied) add(last);
  COEUS_ASSERT(inventory.take_rest().empty());
  fsdp.materialize();
}

}  // namespace coeus
