#include "coeus/models/parallelize.h"

#include "coeus/base/error.h"
#include "coeus/models/registry.h"
#include "coeus/parallel/tensor/tensor_styles.h"

namespace coeus {

void split_ends(TensorParallel& parallel, int64_t vocab_size) {
  using namespace tensor;
  parallel.apply_to_present({{"tok_embeddings", vocabulary_embedding()},
                             {"norm", replicated()},
                             {"output", vocabulary_output(vocab_size)}});
}

void split_feed_forward(TensorParallel& parallel, const std::string& block) {
  using namespace tensor;
  if (parallel.has(block + ".moe"))
    parallel.apply(block, {{"moe", experts()}});
  else
    parallel.apply(block, {{"feed_forward", gather_sequence()},
                           {"feed_forward.w1", columns()},
                           {"feed_forward.w3", columns()},
                           {"feed_forward.w2", rows_to_sequence()}});
}

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
