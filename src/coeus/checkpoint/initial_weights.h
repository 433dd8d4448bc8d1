// checkpoint.initial_load_path: the weights a run starts from when it has no checkpoint of its own.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/checkpoint_reader.h"
#include "coeus/checkpoint/tensor_match.h"

namespace coeus {

/// Weights with native names that were found at a path.
struct InitialWeights {
  std::vector<StoredTensor> model;
  /// Set if the path is a checkpoint of coeus; the others hold weights and nothing else.
  std::optional<VerifiedCheckpoint> checkpoint;
};

/// Looks at a checkpoint folder of coeus (verified whole), a folder of .safetensors files with or
/// without a model.safetensors.index.json, or one safetensors file. Throws CheckpointError on
/// anything else, on damage, on a tensor that stands in two files, and on an index that names a
/// file outside of its folder or disagrees with the files. All ranks look together.
InitialWeights find_initial_weights(FileSystem& file_system, const std::filesystem::path& path,
                                    CheckpointRanks& ranks = single_rank());

/// Fills `model` in place from weights at `path`: every tensor of `model` must be there (an
/// expert_bias may not, and is then zero) and nothing unknown; F64, F32, F16 and BF16 are
/// converted. Throws CheckpointError that names all misfits, before anything is changed.
void load_model_weights(FileSystem& file_system, const std::filesystem::path& path,
                        const NamedTensors& model);

/// The same from weights already found, each rank with the slices that it holds.
void load_model_weights(FileSystem& file_system, const std::filesystem::path& path,
                        const InitialWeights& weights, const NamedTensors& model,
                        const HeldSlices& slices = {}, CheckpointRanks& ranks = single_rank());

}  // namespace coeus
