#pragma once

#include <torch/nn/module.h>

namespace coeus {

/// Adds hooks to the layers of `model` that stand in no other layer (blocks, norm, output) which
/// put their times into the TraceLog while it is on: "layers.3 forward", and "layers.3 backward"
/// from the arrival of the output's gradient to that of the input's, recomputation included.
/// Changes no value.
void watch_layers(const torch::nn::Module& model);

}  // namespace coeus
