#include "coeus/models/qwen3/masks.h"

namespace coeus::qwen3 {

Mask block_causal() { return mask::causal() & mask::document(); }

}  // namespace coeus::qwen3
