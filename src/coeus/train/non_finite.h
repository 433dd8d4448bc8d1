#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "coeus/models/model.h"
#include "coeus/train/batch_tensors.h"

namespace coeus {

/// Throws NonFiniteError unless the loss and the gradients' norm are finite. Names the step and the
/// first bad tensor: a parameter; or, for a bad loss, what `find_bad_output` says. For a bad norm
/// it names the last block that has bad gradients (backward meets that one first) with the
/// parameters concerned, and those outside the blocks; the blocks before it are counted.
/// `parameters`: in the model's order, as they were in the step; `gradient_norms`: that step's
/// (gradient_norm.h), whose gradients may be gone.
void check_finite(int64_t step, double loss, double grad_norm,
                  const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                  const at::Tensor& gradient_norms,
                  const std::function<std::string()>& find_bad_output = {});

/// Runs the batch forward again and says which output goes bad first and for which token ("the
/// output of layers.3 (row 0, token 17)"); nothing when all, the logits included, are finite. To be
/// called as forward was, under autocast if it was. `layouts`: the batch's, of which tokens have
/// their number in the row.
std::string first_bad_output(Model& model, const BatchTensors& batch, const AttentionMasks& masks,
                             const std::vector<SequenceLayout>& layouts);

}  // namespace coeus
