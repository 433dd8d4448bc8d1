// The layouts that TorchTitan's integration tests train in, of those without context parallelism,
// and one more for what it refuses.
#pragma once

#include <string>
#include <vector>

namespace coeus {

/// A model to train in a layout.
struct LayoutModel {
  std::string name;    ///< "llama3"
  std::string flavor;  ///< "debugmodel"
  bool has_experts = false;

  std::string label() const { return name + " " + flavor; }
};

/// How a run is spread over ranks.
struct Layout {
  std::string name;  ///< TorchTitan's own where it has one
  int ranks = 1;
  int data_ranks = 1;  ///< those that take different rows
  std::string flags;
  bool needs_experts = false;
  /// The models that CI trains in it, as in LayoutModel::label; every model otherwise.
  std::vector<std::string> in_ci = {};
};

const std::vector<LayoutModel>& layout_models();
const std::vector<Layout>& layouts();

}  // namespace coeus
