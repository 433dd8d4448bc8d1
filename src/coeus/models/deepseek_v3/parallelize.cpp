#include "coeus/models/deepseek_v3/parallelize.h"

#include "coeus/models/parallelize.h"
#include "coeus/nn/block.h"
#include "coeus/parallel/tensor/tensor_styles.h"

namespace coeus::deepseek_v3 {

void parallelize(Transformer& model, ModelParallel& parallel) {
  using namespace tensor;
  const Sizes& sizes = model.sizes();
  split_ends(parallel.tensor, sizes.vocab_size);
  for (const std::string& block : parallel.tensor.names_of<nn::Block>()) {
    // The latents are the same for all heads: every rank computes them.
    parallel.tensor.apply(block, {{"attention_norm", replicated()},
                                  {"attention", gather_sequence()},
                                  {"attention.wkv_a", replicated()},
                                  {"attention.kv_norm", replicated()},
                                  {"attention.wkv_b", heads(sizes.n_heads)},
                                  {"attention.wo", rows_to_sequence()},
                                  {"ffn_norm", replicated()}});
    if (sizes.q_lora_rank == 0)
      parallel.tensor.apply(block, {{"attention.wq", heads(sizes.n_heads)}});
    else
      parallel.tensor.apply(block, {{"attention.wq_a", replicated()},
                                    {"attention.q_norm", replicated()},
                                    {"attention.wq_b", heads(sizes.n_heads)}});
    split_feed_forward(parallel.tensor, block);
  }
  for (const std::string& layer : parallel.tensor.names_of<PredictionLayer>())
    parallel.tensor.apply(layer, {{"enorm", replicated()},
                                  {"hnorm", replicated()},
                                  {"known", sequence_share()},
                                  {"eh_proj", replicated()},
                                  {"mtp_norm", replicated()}});
}

}  // namespace coeus::deepseek_v3
