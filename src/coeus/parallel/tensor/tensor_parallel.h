// Tensor and sequence parallelism (Megatron-LM, arXiv 1909.08053; arXiv 2205.05198): each layer's
// matrices split over ranks, and between the layers each rank has its share of every row's tokens.
#pragma once

#include <torch/nn/module.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/comm/parallel_groups.h"
#include "coeus/nn/layer.h"
#include "coeus/parallel/sharded_parameters.h"
#include "coeus/parallel/tensor/even_share.h"
#include "coeus/parallel/tensor/sequence_shares.h"

namespace coeus {

class TensorParallel;

/// What becomes of one module: see tensor_styles.h for those there are.
using TensorStyle = std::function<void(TensorParallel& tensor, const std::string& module)>;
/// Modules by name, and how each is split.
using TensorPlan = std::vector<std::pair<std::string, TensorStyle>>;

/// Splits a model that has no memory yet (nn::WithoutMemory) over ParallelGroups::tensor, by a plan
/// of the model's own. The model's code stays that of one device: layers' hooks exchange what
/// passes between them, and weights are slices. With one rank nothing is changed.
///
/// Every rank of the group calls the same methods in the same order, and gives the model the same
/// tokens.
class TensorParallel {
 public:
  struct Options {
    /// Whether logits stay spread over ranks for the loss; if not, they are gathered.
    bool loss_parallel = true;
  };
  /// `model` and `parameters` outlive this; what it adds to the model's layers does not need it.
  TensorParallel(const ParallelGroups& groups, torch::nn::Module& model,
                 ShardedParameters& parameters, const Options& options);
  TensorParallel(const ParallelGroups& groups, torch::nn::Module& model,
                 ShardedParameters& parameters)
      : TensorParallel(groups, model, parameters, Options()) {}

  /// To be called before each forward pass: how many tokens its rows have, on all ranks together.
  /// Any number will do. A pass whose backward recomputes layers has to be through with it before
  /// one of another length begins.
  void begin_pass(int64_t seq_len) { pass_->seq_len = seq_len; }

  /// Treats each module of the plan, named as in the model after `prefix` and a dot ("" for none).
  /// Throws Error for a module that there is not.
  void apply(const std::string& prefix, const TensorPlan& plan);
  /// The same for those modules that this pipeline stage has.
  void apply_to_present(const TensorPlan& plan);
  /// Throws Error, with their names, if parameters are left that no plan has treated.
  void check_complete() const;

  /// The loss of logits as they leave the model, the same on every rank: for
  /// Model::set_cross_entropy.
  using CrossEntropy =
      std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& labels)>;
  CrossEntropy cross_entropy(int64_t vocab_size) const;

  const ParallelGroups& groups() const { return groups_; }
  int64_t ranks() const { return groups_.tensor->size(); }
  int64_t rank() const { return groups_.tensor->rank(); }
  bool is_loss_parallel() const { return options_.loss_parallel; }

  /// Whether the model, or this stage of it, has the module.
  bool has(const std::string& module) const { return modules_.contains(module); }
  /// The names of all modules of a class, in order ("layers.0", "layers.1", …).
  template <class Module>
  std::vector<std::string> names_of() const {
    std::vector<std::string> names;
    for (const std::string& name : ordered_names_)
      if (dynamic_cast<Module*>(modules_.at(name).get()) != nullptr) names.push_back(name);
    return names;
  }

  // What styles are made of.

  /// Throws Error for a name that there is not, or is of another class.
  template <class Module>
  Module& module(const std::string& name) const {
    const auto found = modules_.find(name);
    COEUS_CHECK(found != modules_.end(), "[TensorParallel] the model has no module {}", name);
    auto* const module = dynamic_cast<Module*>(found->second.get());
    COEUS_CHECK(module != nullptr, "[TensorParallel] {} is not of the class that its style is for",
                name);
    return *module;
  }
  /// This rank holds [share.begin, share.begin + share.size) of the parameter along `dim`.
  void narrow(const std::string& parameter, int64_t dim, const EvenShare& share);
  /// This rank's even share of the parameter along `dim`. Throws ConfigError if a rank would be
  /// left without.
  void split(const std::string& parameter, int64_t dim);
  /// All of `group` hold the parameter whole, or this slice of it, and have a part of its gradient
  /// each.
  void sum_gradient(const std::string& parameter, const ParallelGroups::Group& group);
  /// The parameter is whole, as far as tensor parallelism goes.
  void leave(const std::string& parameter) { treated_.insert(parameter); }
  bool has_parameter(const std::string& name) const { return parameters_.contains(name); }
  /// The parameter's sizes in the whole model.
  const std::vector<int64_t>& whole_sizes(const std::string& parameter) const {
    return parameters_.at(parameter).slice.whole;
  }
  /// The ranks next to each other, `count` at a time, that this one is among. `module`: the one
  /// that asks, whose name tells the groups of a rank's parts of the model apart.
  ParallelGroups::Group neighbours(int64_t count, const std::string& module);

  /// Rows of the current pass, for hooks that live as long as the model.
  using CurrentShares = std::function<SequenceShares()>;
  CurrentShares shares_of(const std::string& module) const;

 private:
  struct Pass {
    int64_t seq_len = 0;
  };

  ParallelGroups groups_;
  ShardedParameters& parameters_;
  Options options_;
  std::shared_ptr<Pass> pass_ = std::make_shared<Pass>();
  std::map<std::string, std::shared_ptr<torch::nn::Module>> modules_;
  std::vector<std::string> ordered_names_;
  std::set<std::string> treated_;
  std::map<int64_t, ParallelGroups::Group> neighbours_;
};

}  // namespace coeus
