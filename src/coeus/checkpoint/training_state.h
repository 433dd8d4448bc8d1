// What a checkpoint holds, in memory. It knows names, tensors and JSON, and no model.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "coeus/base/tensor_slice.h"

namespace coeus {

/// Dense tensors of any device and type of the safetensors format, each under a name of its own.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// What this rank holds of a tensor.
struct HeldSlice {
  TensorSlice slice;
  /// Whether this rank writes it: of the ranks that hold the same box exactly one does.
  bool is_writer = true;
};

/// By the tensor's name. A tensor that is not listed is held whole and written by this rank, so a
/// single process lists none.
using HeldSlices = std::map<std::string, HeldSlice>;

/// What this rank holds of the tensor. Throws Error if it is listed with another size than it has.
HeldSlice held_slice(const HeldSlices& slices, const std::string& name, const at::Tensor& tensor);

/// Everything that a resumed run needs to go on with the same bits. The tensors share their storage
/// with the run's own, so that saving reads and loading writes the run's state in place.
struct TrainingState {
  NamedTensors model;
  NamedTensors optimizer;
  /// "lr_scheduler", "dataloader", "train_state", ...: the same on all ranks.
  std::map<std::string, nlohmann::json> states;
  /// Of the model's tensors, and of the optimizer's.
  HeldSlices model_slices;
  HeldSlices optimizer_slices;
};

}  // namespace coeus
