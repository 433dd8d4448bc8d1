// What a checkpoint holds, in memory. It knows names, tensors and JSON, and no model.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace coeus {

/// Dense tensors of any device and type of the safetensors format, each under a name of its own.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Everything that a resumed run needs to go on with the same bits. The tensors share their storage
/// with the run's own, so that saving reads and loading writes the run's state in place.
struct TrainingState {
  NamedTensors model;
  NamedTensors optimizer;
  /// "lr_scheduler", "dataloader", "train_state", ...
  std::map<std::string, nlohmann::json> states;
};

}  // namespace coeus
