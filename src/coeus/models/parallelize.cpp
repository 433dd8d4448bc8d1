#include "coeus/models/parallelize.h"

#include "coeus/base/error.h"
#include "coeus/models/registry.h"

namespace coeus {

void parallelize(Model& model, const std::string& name, ModelParallel& parallel) {
  TensorParallel& tensor = parallel.tensor;
  if (tensor.ranks() == 1) return;
  const ModelFamily* family = find_family(name);
  COEUS_CHECK_CONFIG(family != nullptr && family->parallelize,
                     "parallelism.tensor_parallel_degree = {}: {} has no plan to split its layers; "
                     "use 1",
                     tensor.ranks(), name);
  family->parallelize(model, parallel);
  tensor.check_complete();
  model.set_cross_entropy(tensor.cross_entropy(model.vocab_size()));
}

}  // namespace coeus
