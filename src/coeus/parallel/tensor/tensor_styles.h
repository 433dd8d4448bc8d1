// How modules are split over the ranks of tensor parallelism: what a model's plan is made of.
//
// Between modules hidden states are shares of the sequence, [batch, share, dim]. A layer of two
// matrices gathers the sequence where it begins, splits the first matrix by columns and the second
// by rows, and reduce-scatters its result to shares again.
#pragma once

#include "coeus/parallel/tensor/tensor_parallel.h"

namespace coeus::tensor {

/// Parameters stay whole. The ranks use them for other tokens or other heads, so that their
/// gradients are summed: norms between layers, norms of heads, latents' projections.
TensorStyle replicated();

/// A layer whose input is brought together from the shares.
TensorStyle gather_sequence();

/// A linear layer whose outputs are split: rows of the weight (and a bias's values).
TensorStyle columns();

/// The same with outputs that are `heads` attention heads; no head is cut. Throws ConfigError
/// unless the ranks divide them.
TensorStyle heads(int64_t heads);

/// The same for keys and values that `query_heads` heads share. With more ranks than heads, each
/// has the one head that its queries use, and the ranks of one head share its gradient. Throws
/// ConfigError unless one of the two numbers divides the other.
TensorStyle key_value_heads(int64_t key_value_heads, int64_t query_heads);

/// A linear layer whose inputs are split (the weight's columns), as the layer before splits its
/// outputs. What it returns is summed and comes back as shares of the sequence.
TensorStyle rows_to_sequence();

/// The same, but what it returns stays a part of a sum.
TensorStyle rows();

/// An embedding of which each rank has some tokens' vectors. Returns shares of the sequence.
TensorStyle vocabulary_embedding();

/// The last projection: its input is brought together from shares, and each rank has some tokens'
/// logits. They are gathered where TensorParallel::is_loss_parallel() does not hold. For a
/// nn::TiedLinear the weight is split with the embedding.
TensorStyle vocabulary_output(int64_t vocab_size);

/// Passes on this rank's share of something that every rank has for the whole sequence.
TensorStyle sequence_share();

/// A nn::MoE. Where each expert's matrices are split (Mesh::splits_experts), it gathers the
/// sequence, every rank routes all tokens alike, and the routed and shared experts' parts of the
/// sum go back to shares together. Where experts are spread over the ranks of tp, each rank routes
/// its own share of the tokens, and the shared experts alone gather the sequence.
TensorStyle experts();

}  // namespace coeus::tensor
