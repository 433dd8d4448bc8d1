#include "coeus/models/llama3/masks.h"

namespace coeus::llama3 {

Mask block_causal() { return mask::causal() & mask::document(); }

}  // namespace coeus::llama3
