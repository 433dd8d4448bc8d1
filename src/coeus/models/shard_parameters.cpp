#include "coeus/models/shard_parameters.h"

#include <map>

#include "coeus/base/error.h"
#include "coeus/nn/linear.h"
#include "coeus/nn/moe/experts.h"

namespace coeus {

namespace {

/// What units are made of: layers by name, and the parameters that no unit has yet.
class Inventory {
 public:
  explicit Inventory(const Model& model) {
    const auto modules = model.named_modules("", /*include_self=*/false);
    for (const auto& item : modules)
      if (auto* const layer = dynamic_cast<nn::Layer*>(item.value().get()))
        layers_[item.key()] = layer;
    for (const auto& item : model.named_parameters()) {
      const torch::nn::Module* const owner = modules[owner_of(item.key())].get();
      const bool is_expert = dynamic_cast<const nn::GroupedExpertsImpl*>(owner) != nullptr;
      const bool is_linear = dynamic_cast<const nn::LinearImpl*>(owner) != nullptr;
      // A bias is added to what autocast has rounded, so it is rounded alike.
      left_.push_back({item.key(), is_linear || is_expert, is_expert});
    }
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

  std::vector<FsdpParameter> take(const std::string& prefix) {
    std::vector<FsdpParameter> taken, others;
    for (FsdpParameter& parameter : left_)
      (parameter.name.starts_with(prefix) ? taken : others).push_back(std::move(parameter));
    left_ = std::move(others);
    return taken;
  }
  std::vector<FsdpParameter> take_rest() { return take(""); }

 private:
  static std::string owner_of(const std::string& parameter) {
    return parameter.substr(0, parameter.rfind('.'));
  }

  std::map<std::string, nn::Layer*> layers_;
  std::vector<FsdpParameter> left_;
};

}  // namespace

void shard_parameters(Model& model, Fsdp& fsdp) {
  Inventory inventory(model);
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
    for (FsdpParameter& parameter : inventory.take("output."))
      last.parameters.push_back(std::move(parameter));
  }
  if (embedding != nullptr) {
    FsdpUnit first = {"tok_embeddings", embedding, embedding, inventory.take_rest()};
    if (is_tied || first.parameters.size() > 1) {
      first.exit = output;
      first.always_whole = true;
    } else {
      first.backward_reads = false;
    }
    fsdp.add(first);
  }
  for (const FsdpUnit& block : blocks) fsdp.add(block);
  if (norm != nullptr && !is_tied) fsdp.add(last);
  COEUS_ASSERT(inventory.take_rest().empty());
  fsdp.materialize();
}

}  // namespace coeus
