#include "coeus/checkpoint/training_state.h"

#include <torch/types.h>

#include "coeus/base/error.h"

namespace coeus {

HeldSlice held_slice(const HeldSlices& slices, const std::string& name, const at::Tensor& tensor) {
  const auto found = slices.find(name);
  if (found == slices.end()) return {TensorSlice::whole_of(tensor.sizes().vec())};
  COEUS_CHECK(tensor.sizes() == found->second.slice.size,
              "[checkpoint] tensor '{}' has the shape [{}], but its slice the size [{}]", name,
              fmt::join(tensor.sizes(), ", "), fmt::join(found->second.slice.size, ", "));
  return found->second;
}

}  // namespace coeus
