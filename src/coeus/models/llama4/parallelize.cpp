#include "coeus/models/llama4/parallelize.h"

#include "coeus/models/parallelize.h"
#include "coeus/nn/block.h"
#include "coeus/parallel/tensor/tensor_styles.h"

namespace coeus::llama4 {

void parallelize(Transformer& model, ModelParallel& parallel) {
  using namespace tensor;
  const Sizes& sizes = model.sizes();
  split_ends(parallel.tensor, sizes.vocab_size);
  for (const std::string& block : parallel.tensor.names_of<nn::Block>()) {
    parallel.tensor.apply(block,
                          {{"attention_norm", replicated()},
                           {"attention", gather_sequence()},
                           {"attention.wq", heads(sizes.n_heads)},
                           {"attention.wk", key_value_heads(sizes.n_kv_heads, sizes.n_heads)},
                           {"attention.wv", key_value_heads(sizes.n_kv_heads, sizes.n_heads)},
                           {"attention.wo", rows_to_sequence()},
                           {"ffn_norm", replicated()}});
    split_feed_forward(parallel.tensor, block);
  }
}

}  // namespace coeus::llama4
