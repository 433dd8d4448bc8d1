#include "coeus/train/stored_slices.h"

namespace coeus {

HeldSlices optimizer_slices(const NamedTensors& optimizer, const HeldSlices& model,
                            const Mesh& mesh) {
  HeldSlices slices;
  for (const auto& [name, tensor] : optimizer) {
    const size_t dot = name.find('.');
    const auto of_model = dot == std::string::npos ? model.end() : model.find(name.substr(dot + 1));
    slices[name] = of_model != model.end()
                       ? of_model->second
                       : HeldSlice{TensorSlice::whole_of(tensor.sizes().vec()), mesh.rank() == 0};
  }
  return slices;
}

}  // namespace coeus
